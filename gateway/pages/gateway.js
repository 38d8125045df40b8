// Client of a callscreen gateway, for browsers and for Node.js 22 or newer, without dependencies.
//
//   for await (const event of follow(url, { token, types: ["alert.raised"], lastEventId })) {
//     if (event.type === "alert.raised") console.log(event.data.call_id, event.data.leg, event.data.p_synthetic);
//     lastEventId = event.id;
//   }

const PATH = "/v1/events";
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
const TRY_AGAIN_LATER_MS = 5000; // shortest wait after 1013 or 503: the gateway is overloaded
const SILENCE_MS = 60_000; // by default a gateway sends a heartbeat every 15 s
const REMEMBERED_EVENTS = 4096; // recent ids, by which redelivered events are recognised
const WAITING_EVENTS = 10_000; // limit for a slow program; beyond it the connection is closed and resumed

// Close codes and statuses after which the same request would only be refused again.
const FINAL_CODES = new Set([1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4403, 4404]);
const LOST = 1006; // closed without a close frame
const TRY_AGAIN_LATER = 1013;
const UPGRADE_REQUIRED = 426; // the response to a plain request if the gateway is well
const RETRYABLE_STATUSES = new Set([408, 425, UPGRADE_REQUIRED, 429, 500, 502, 503, 504]);

// The gateway refused; `code` is the HTTP status or the websocket's close code.
export class GatewayError extends Error {
  constructor(message, code) {
    super(message);
    this.name = this.constructor.name;
    this.code = code;
  }
}

// Requested events were deleted, and `onGap` is "throw"; `gap` is the gateway's event.
export class EventsLost extends GatewayError {
  constructor(gap) {
    super(`events after ${gap.data.after} are lost: ${gap.data.reason}`);
    this.gap = gap;
  }
}

// Yield the events of a gateway, each once and in order. After a lost connection it waits 0.5 s to 30 s, with exponential
// backoff and full jitter, reconnects and resumes. An event of type `gap` reports that events are missing. Heartbeats are
// not yielded. Throws GatewayError if the gateway refuses the subscription.
//
// url: the gateway's URL. Options:
//   token          bearer token
//   callId, leg    only this call, only this leg
//   types          only these types; empty: all but `score`
//   lastEventId    `id` of the last event received; later ones are sent first
//   everywhere     events of all gateways that share a stream; to resume, pass `cursor`, not `id`
//   onGap          "yield" (default) or "throw": EventsLost
//   onRetry        called with the reason and the wait in ms before each reconnection
//   signal         an AbortSignal; when it fires, the iteration ends
//   silenceMs      a connection is closed after this time without a message
//   longestPauseMs longest wait between two attempts to connect
export async function* follow(url, options = {}) {
  const { token, onGap = "yield", onRetry, signal, silenceMs = SILENCE_MS, longestPauseMs = LONGEST_PAUSE_MS } = options;
  const position = new Position(options.lastEventId);
  let failures = 0;
  while (!signal?.aborted) {
    const connection = new Connection(address(url, options, position.lastEventId), token, silenceMs, signal);
    try {
      for await (const text of connection.texts()) {
        failures = 0;
        const event = JSON.parse(text);
        if (!position.advance(event)) continue;
        if (event.type === "gap" && onGap === "throw") throw new EventsLost(event);
        yield event;
      }
    } finally {
      connection.end(1000, "no longer wanted");
    }
    if (signal?.aborted) return;
    const failure = connection.opened ? closed(connection.ending) : await refused(url, token, signal);
    if (failure.isFinal) throw new GatewayError(failure.reason, failure.code);
    const pauseMs = failure.waitMs + Math.random() * Math.min(longestPauseMs, FIRST_PAUSE_MS * 2 ** failures);
    failures += 1;
    onRetry?.(failure.reason, pauseMs);
    await pause(pauseMs, signal);
  }
}

// The HTTP API and the events of a gateway, with one token.
export class Gateway {
  constructor(token, url = location.origin) {
    this.token = token;
    this.url = url;
  }

  // Make a request; throws a GatewayError with the gateway's reason if it refuses.
  async fetch(path, options = {}) {
    const answer = await fetch(new URL(path, this.url), { ...options, headers: { ...bearer(this.token), ...options.headers } });
    if (answer.ok) return answer;
    throw new GatewayError(await detail(answer), answer.status);
  }

  // See `follow`.
  follow(options) {
    return follow(this.url, { token: this.token, ...options });
  }
}

// One websocket with a queue of received messages.
class Connection {
  constructor(url, token, silenceMs, signal) {
    this.opened = false;
    this.ending = undefined; // { code, reason } after the end
    this.waiting = [];
    this.wake = () => {};
    this.silenceMs = silenceMs;
    this.signal = signal;
    this.stop = () => this.end(1000, "no longer wanted");
    signal?.addEventListener("abort", this.stop);
    // A browser cannot set headers on a websocket.
    this.socket = new WebSocket(url, token ? ["cloudevents.json", `bearer.${token}`] : ["cloudevents.json"]);
    this.socket.onopen = () => { this.opened = true; };
    this.socket.onmessage = ({ data }) => this.#take(data);
    this.socket.onclose = ({ code, reason }) => this.end(code, reason);
    this.socket.onerror = () => this.end(LOST, ""); // Node.js 20 fires no close event for a refusal
    this.#listen();
  }

  // Yield messages until the connection ends.
  async *texts() {
    while (true) {
      while (this.waiting.length) yield this.waiting.shift();
      if (this.ending) return;
      await new Promise((resolve) => { this.wake = resolve; });
    }
  }

  end(code, reason) {
    if (this.ending) return;
    this.ending = { code, reason };
    clearTimeout(this.timer);
    this.signal?.removeEventListener("abort", this.stop);
    this.socket.close();
    this.wake();
  }

  #take(text) {
    if (this.ending) return;
    this.#listen();
    this.waiting.push(text);
    if (this.waiting.length >= WAITING_EVENTS) this.end(4430, "the queue of events is full");
    this.wake();
  }

  #listen() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(LOST, "the gateway is silent"), this.silenceMs);
  }
}

// The position in the stream, and the ids of recent events.
class Position {
  constructor(lastEventId) {
    this.lastEventId = lastEventId;
    this.seen = new Set(); // oldest first
  }

  // Record an event; return whether it should be yielded.
  advance({ type, id, source, data, cursor }) {
    if (type === "heartbeat") {
      this.lastEventId = data.last_event_id ?? this.lastEventId;
      return false;
    }
    this.lastEventId = cursor ?? id;
    const key = `${source} ${id}`;
    if (this.seen.has(key)) return false;
    this.seen.add(key);
    if (this.seen.size > REMEMBERED_EVENTS) this.seen.delete(this.seen.values().next().value);
    return true;
  }
}

function address(url, { callId, leg, types = [], everywhere }, lastEventId) {
  const target = events(url);
  target.protocol = target.protocol.replace("http", "ws");
  const query = {
    call_id: callId,
    leg,
    scope: everywhere ? "all" : undefined,
    type: types.length ? types.join() : undefined,
    last_event_id: lastEventId,
  };
  for (const [name, value] of Object.entries(query)) if (value !== undefined) target.searchParams.set(name, value);
  return target;
}

function events(url) {
  const target = new URL(url);
  if (!target.pathname.endsWith(PATH)) target.pathname = target.pathname.replace(/\/$/, "") + PATH;
  return target;
}

function closed({ code, reason }) {
  const waitMs = code === TRY_AGAIN_LATER ? TRY_AGAIN_LATER_MS : 0;
  const why = reason || (code === LOST ? "the connection was lost" : `closed with code ${code}`);
  return { reason: why, code, waitMs, isFinal: FINAL_CODES.has(code) };
}

// Return why there is no connection. A websocket does not reveal it, so make a plain HTTP request, too.
async function refused(url, token, signal) {
  const target = events(url);
  target.protocol = target.protocol.replace("ws", "http");
  const answer = await fetch(target, { headers: bearer(token), signal }).catch(() => undefined);
  if (!answer || answer.status === UPGRADE_REQUIRED) return { reason: "cannot connect", waitMs: 0, isFinal: false };
  const waitMs = 1000 * Number(answer.headers.get("Retry-After")) || TRY_AGAIN_LATER_MS;
  return { reason: await detail(answer), code: answer.status, waitMs, isFinal: !RETRYABLE_STATUSES.has(answer.status) };
}

// Return the reason in a refusal: problem details (RFC 9457) if there are any, else the status.
async function detail(answer) {
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? `${answer.status} ${answer.statusText}`;
}

function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function pause(ms, signal) {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
