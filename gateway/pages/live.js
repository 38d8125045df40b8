import { Alerts } from "./alerts.js";
import { showRecipes } from "./attach.js";
import { Calls } from "./calls.js";
import { Gateway } from "./gateway.js";
import { Health } from "./health.js";
import { History } from "./history.js";
import { EVENTS, byId, doing, forEach, repeatedly } from "./page.js";

const CALLS_EVERY_MS = 1000;
const HEALTH_EVERY_MS = 5000;

async function show(gateway, cards) {
  const { calls } = await (await gateway.fetch("/v1/calls?state=live&limit=200")).json();
  byId("empty").hidden = calls.length > 0;
  byId("search").hidden = !calls.length;
  const others = cards.show(calls, byId("wanted").value.trim());
  byId("count").textContent = `${calls.length} live${others ? `, ${others} not shown` : ""}`;
}

const open = doing(async () => {
  const gateway = new Gateway(byId("token").value.trim());
  await gateway.fetch("/v1/calls?limit=1"); // the token may be wrong
  byId("access").hidden = true;
  byId("dashboard").hidden = false;
  showRecipes();
  const cards = new Calls(byId("calls"));
  const alerts = new Alerts(gateway);
  const health = new Health(gateway);
  new History(gateway);
  forEach(gateway.follow({ types: EVENTS }), (event) => (event.type === "score" ? cards : alerts).add(event));
  repeatedly(CALLS_EVERY_MS, () => show(gateway, cards));
  repeatedly(HEALTH_EVERY_MS, () => health.show());
});

byId("access").addEventListener("submit", open);
// On loopback a token may not be needed.
new Gateway("").fetch("/v1/calls?limit=1").then(() => open(), () => {
  byId("access").hidden = false;
  byId("token").focus();
});
