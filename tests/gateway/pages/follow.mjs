// Follow a gateway and print what happens, a JSON a line: node follow.mjs CLIENT URL OPTIONS

const [client, url, options] = process.argv.slice(2);
const { follow } = await import(client);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
try {
  const events = follow(url, { ...JSON.parse(options), onRetry: (reason, pauseMs) => say({ retry: reason, pauseMs }) });
  for await (const event of events) say(event);
} catch (error) {
  say({ error: error.name, message: error.message, code: error.code, gap: error.gap });
}
