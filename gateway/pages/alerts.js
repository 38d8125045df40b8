// Alerts since the page was opened: one entry each, with its changes and its facts.

import { Feedback } from "./feedback.js";
import { byId, make } from "./page.js";

const KEPT_ALERTS = 100;
const FACTS = {
  media_time_s: ["position in the leg's audio", seconds],
  speech_s: ["speech heard of the leg", seconds],
  p_synthetic: ["sounds synthetic", (p) => p.toFixed(2)],
  model: ["model", String],
  reason: ["reason", String],
  lag_ms: ["delay after the audio", (ms) => `${ms.toFixed(0)} ms`],
  judged_speech_s: ["speech that the verifier heard", seconds],
  filter_p_synthetic: ["light model alone", (p) => p.toFixed(2)],
};

export class Alerts {
  constructor(gateway) {
    this.gateway = gateway;
    this.entries = new Map(); // alert id -> Entry, oldest first
  }

  // Add an event; events that do not concern an alert are ignored.
  add(event) {
    if (event.type === "feedback.given") this.entries.get(event.data.alert_id)?.feedback?.show(event.data.verdict);
    const step = stepOf(event);
    if (!step) return;
    // An expected machine raises no alert, so its event has no alert id.
    const id = event.data.alert_id ?? event.id;
    let entry = this.entries.get(id);
    if (!entry) {
      entry = new Entry(this.gateway, event.data);
      this.entries.set(id, entry);
      byId("alerts").prepend(entry.element);
      byId("no-alerts").hidden = true;
      this.#forgetOldest();
    }
    entry.add(event, step);
    if (!["alert.verified", "alert.evidence"].includes(event.type)) byId("announcement").textContent = `${entry.name} ${step}`;
  }

  #forgetOldest() {
    for (const [id, entry] of this.entries) {
      if (this.entries.size <= KEPT_ALERTS) return;
      entry.element.remove();
      this.entries.delete(id);
    }
  }
}

function stepOf({ type, data }) {
  const p = data.p_synthetic?.toFixed(2);
  if (type === "alert.raised") return `sounds synthetic (${data.stage}, p ${p})`;
  if (type === "alert.cleared") return "sounds human again";
  if (type === "alert.evidence") return data.outcome === "stored"
    ? `audio stored (${seconds(data.end_s - data.start_s)}, encrypted)` : `audio not stored (${data.reason})`;
  if (type === "voice.expected") return `is an expected machine (p ${p})`;
  if (type === "alert.verified" && data.alert_id) return `verified: ${data.verdict} (${data.reason}, p ${p})`;
  return undefined;
}

class Entry {
  constructor(gateway, data) {
    this.name = `${data.call_id}: ${data.leg}`;
    this.head = make("strong");
    this.steps = make("ol", { className: "steps" });
    this.facts = make("dl", { className: "facts" });
    this.element = make("li", {}, this.head, this.steps,
      make("details", {}, make("summary", {}, `Evidence`, make("span", { className: "unseen" }, ` for ${this.name}`)), this.facts));
    if (data.alert_id) {
      this.feedback = new Feedback(gateway, data.alert_id, this.name);
      this.element.append(this.feedback.element);
    }
    this.verified = undefined; // the line of the verifier's newest score, which replaces earlier ones
  }

  add({ type, time, data }, step) {
    const line = make("li", {}, `${new Date(time).toLocaleTimeString()} ${this.name} ${step}, at ${seconds(data.media_time_s)}`);
    if (type === "alert.verified") {
      this.verified?.remove();
      this.verified = line;
    } else if (type !== "alert.evidence") {
      this.head.textContent = `${this.name} ${step}`;
      this.element.className = type.split(".")[1];
    }
    this.steps.append(line);
    if (type !== "alert.evidence") this.#showFacts(data);
  }

  #showFacts(data) {
    const known = Object.entries(FACTS).filter(([name]) => data[name] !== undefined && data[name] !== null);
    this.facts.replaceChildren(...known.map(([name, [words, show]]) =>
      make("div", {}, make("dt", {}, words), make("dd", {}, show(data[name])))));
  }
}

function seconds(value) {
  return `${value.toFixed(1)} s`;
}
