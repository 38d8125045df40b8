import { Alerts } from "./alerts.js";
import { Calls } from "./calls.js";
import { Gateway } from "./gateway.js";
import { EVENTS, byId, doing, forEach, repeatedly } from "./page.js";

const STATE_EVERY_MS = 1000;

// Echo cancellation keeps the other speaker out of this leg. The other effects would alter the voice before scoring.
const MICROPHONE = { echoCancellation: true, noiseSuppression: false, autoGainControl: false };
// Browsers share sound only together with video; the video is never sent.
const SCREEN = { video: true, audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false }, systemAudio: "include" };

const legs = new Map(); // name -> { stream, peer, session }
let gateway;
let watching = false;

async function send(leg, capture) {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the microphone on HTTPS pages and localhost only.");
  if (!byId("setup").reportValidity()) return;
  if (legs.has(leg)) throw new Error(`${leg} is being sent already.`);
  gateway ??= new Gateway(byId("token").value.trim());
  const stream = await capture();
  try {
    const [track] = stream.getAudioTracks();
    if (!track) throw new Error("No sound was shared: choose a tab or a screen, and tick “share audio”.");
    legs.set(leg, { stream, ...(await publish(leg, track, stream)) });
    track.addEventListener("ended", doing(() => stop(leg)));
  } catch (error) {
    stream.getTracks().forEach((part) => part.stop());
    if (!legs.size) gateway = undefined; // the token may be wrong
    throw error;
  }
  if (!watching) watch();
  showState();
}

// WHIP (RFC 9725). The offer has no candidates: the gateway learns our address from our connectivity checks.
async function publish(leg, track, stream) {
  const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  try {
    peer.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    await peer.setLocalDescription();
    const answer = await gateway.fetch(`/v1/whip/${encodeURIComponent(byId("call").value)}/${encodeURIComponent(leg)}`, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: peer.localDescription.sdp,
    });
    await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    peer.addEventListener("connectionstatechange", doing(async () => {
      if (peer.connectionState !== "failed") return;
      await stop(leg);
      throw new Error(`${leg}: the connection to the gateway failed.`);
    }));
    return { peer, session: new URL(answer.headers.get("Location"), answer.url) };
  } catch (error) {
    peer.close();
    throw error;
  }
}

async function stop(leg) {
  const sent = legs.get(leg);
  if (!sent) return;
  legs.delete(leg);
  sent.stream.getTracks().forEach((track) => track.stop());
  showState();
  // `keepalive` sends the request even while the page is left. 404: the session has ended already.
  await gateway.fetch(sent.session, { method: "DELETE", keepalive: true }).catch((error) => {
    if (error.code !== 404) throw error;
  });
  sent.peer.close();
}

function stopAll() {
  return Promise.all([...legs.keys()].map(stop));
}

function watch() {
  const call = byId("call").value;
  watching = true;
  const cards = new Calls(byId("calls"));
  const alerts = new Alerts(gateway);
  forEach(gateway.follow({ callId: call, types: EVENTS }), (event) => (event.type === "score" ? cards : alerts).add(event));
  repeatedly(STATE_EVERY_MS, async () => {
    if (!legs.size) return; // keep showing the last state
    cards.show([await (await gateway.fetch(`/v1/calls/${encodeURIComponent(call)}`)).json()]);
  });
}

function showState() {
  for (const field of ["call", "token"]) byId(field).disabled = watching; // one call per page
  byId("end").disabled = !legs.size;
}

byId("call").value = `web-${crypto.randomUUID?.().slice(0, 8) ?? Date.now()}`;
byId("setup").addEventListener("submit", doing(() =>
  send(byId("me").value, () => navigator.mediaDevices.getUserMedia({ audio: MICROPHONE }))));
byId("screen").addEventListener("click", doing(() =>
  send(byId("other").value, () => navigator.mediaDevices.getDisplayMedia(SCREEN))));
byId("end").addEventListener("click", doing(stopAll));
addEventListener("pagehide", stopAll);
