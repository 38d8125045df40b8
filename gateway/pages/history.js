// Ended calls from the journal: search by time, verdict and name, in pages.

import { Feedback } from "./feedback.js";
import { byId, doing, make } from "./page.js";

const PAGE_CALLS = 20;

export class History {
  constructor(gateway) {
    this.gateway = gateway;
    byId("history-search").addEventListener("submit", doing(() => this.#search()));
    byId("more").addEventListener("click", doing(() => this.#load(this.next)));
  }

  async #search() {
    byId("history").replaceChildren();
    await this.#load();
    byId("history-found").hidden = false;
    byId("no-history").hidden = byId("history").children.length > 0;
  }

  async #load(cursor) {
    const since = byId("since").value;
    const wanted = {
      state: "ended",
      limit: PAGE_CALLS,
      since: since && new Date(since).toISOString(),
      verdict: byId("verdict").value,
      text: byId("text").value.trim(),
      cursor,
    };
    const query = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    const { calls, next } = await (await this.gateway.fetch(`/v1/calls?${query}`)).json();
    byId("history").append(...calls.map((call) => row(this.gateway, call)));
    this.next = next;
    byId("more").hidden = !next;
  }
}

function row(gateway, call) {
  const legs = call.legs.map((leg) => make("li", {}, `${leg.leg}: ${(leg.verdict ?? "unknown").replace("_", " ")}`));
  const alerts = call.alerts.map((alert) => {
    const feedback = new Feedback(gateway, alert.alert_id, `${call.call_id}: ${alert.leg}`);
    feedback.show(alert.feedback?.verdict);
    const words = `${alert.leg} ${alert.stage ?? ""}, p ${alert.p_synthetic?.toFixed(2) ?? "–"}${alert.cleared ? ", cleared" : ""}${alert.evidence ? `, audio ${alert.evidence}` : ""}`;
    return make("li", {}, words, feedback.element);
  });
  return make("tr", {},
    make("th", { scope: "row" }, call.call_id),
    make("td", {}, new Date(call.started).toLocaleString()),
    make("td", {}, call.source),
    make("td", {}, make("ul", {}, ...legs)),
    make("td", {}, ...(alerts.length ? [make("ul", {}, ...alerts)] : ["none"])));
}
