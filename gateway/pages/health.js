// State of the gateway, from `/readyz` and `/metrics`.

import { byId, make } from "./page.js";

const FORBIDDEN = 403;
const STEPS = ["nothing", "verifications", "short hop", "windows", "new calls"];

export class Health {
  constructor(gateway) {
    this.gateway = gateway;
    this.before = undefined; // { at_s, cpu_s }
  }

  async show() {
    const ready = await (await fetch("/readyz")).json();
    const facts = { state: ready.ready ? "ready" : ready.reasons.join("; ") };
    const metrics = await this.#metrics();
    if (metrics) Object.assign(facts, this.#load(metrics));
    byId("health").replaceChildren(...Object.entries(facts).map(([name, value]) =>
      make("div", { className: name === "state" && !ready.ready ? "fault" : "" },
        make("dt", {}, name), make("dd", {}, value))));
  }

  // Metrics cover all tenants, so they need the scope `admin`; undefined without it.
  async #metrics() {
    try {
      return read(await (await this.gateway.fetch("/metrics")).text());
    } catch (error) {
      if (error.code === FORBIDDEN) return undefined;
      throw error;
    }
  }

  #load(metrics) {
    const step = metrics.most("callscreen_overload_step");
    return {
      delay: `${(1000 * metrics.most("callscreen_delay_seconds")).toFixed(0)} ms`,
      "windows scored": scoredShare(metrics, "callscreen_windows_total"),
      "windows verified": scoredShare(metrics, "callscreen_verifier_windows_total"),
      "verifier CPU": this.#verifierCpu(metrics.sum("callscreen_verifier_cpu_seconds_total")),
      "given up": STEPS[step] ?? "nothing",
      "events lost": String(metrics.sum("callscreen_events_dropped_total")),
    };
  }

  #verifierCpu(cpu_s) {
    const at_s = performance.now() / 1000;
    const before = this.before;
    this.before = { at_s, cpu_s };
    if (!before || cpu_s < before.cpu_s) return "–"; // first measurement, or the gateway was restarted
    return `${(100 * (cpu_s - before.cpu_s) / (at_s - before.at_s)).toFixed(0)} % of a core`;
  }
}

// Share of the windows with speech, since the gateway was started.
function scoredShare(metrics, name) {
  const spoken = metrics.sum(name) - metrics.sum(name, 'outcome="no_speech"');
  return spoken ? `${(100 * metrics.sum(name, 'outcome="scored"') / spoken).toFixed(1)} %` : "–";
}

// Parse Prometheus' text format. With several processes, each sample has a label with its process.
export function read(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name) samples.push({ name, labels, value: Number(value) });
  }
  const values = (name, label) =>
    samples.filter((one) => one.name === name && (!label || one.labels.includes(label))).map((one) => one.value);
  return {
    sum: (name, label) => values(name, label).reduce((sum, value) => sum + value, 0),
    most: (name) => Math.max(0, ...values(name)),
  };
}
