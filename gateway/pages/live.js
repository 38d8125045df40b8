import { EVENTS, Gateway, byId, doing, everySecond, showAlert, showLegs } from "./gateway.js";

async function show(gateway) {
  const { calls } = await (await gateway.fetch("/v1/calls")).json();
  showLegs(byId("legs"), calls.flatMap((call) => call.legs.map((leg) => ({ call: call.call_id, leg }))));
  byId("count").textContent = `${calls.length} live`;
}

const open = doing(async () => {
  const gateway = new Gateway(byId("token").value.trim());
  await show(gateway);
  byId("access").hidden = true;
  byId("house").hidden = false;
  gateway.follow({ type: EVENTS }, showAlert);
  everySecond(() => show(gateway));
});

byId("access").addEventListener("submit", open);
// On loopback there may be no token to type.
new Gateway("").fetch("/v1/calls").then(() => open(), () => byId("token").focus());
