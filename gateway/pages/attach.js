// Recipes to attach a first call by the most common ways, with this gateway's address filled in.

import { byId, doing, make } from "./page.js";

function recipes() {
  const media = `${location.origin.replace("http", "ws")}/v1/media`;
  return {
    Twilio: [
      `<Response>
  <Start>
    <Stream url="${media.replace("ws:", "wss:")}/twilio" track="both_tracks">
      <Parameter name="role_inbound" value="customer"/>
    </Stream>
  </Start>
  <Dial>+15550100</Dial>
</Response>`,
      "TwiML of your number. Twilio needs a public address with TLS: set public_url and twilio_auth_token.",
    ],
    "Any websocket client": [
      `ffmpeg -loglevel error -re -i call.wav -f s16le -ar 16000 -ac 2 - | websocat --binary \\
  -H "Authorization: Bearer $CALLSCREEN_TOKEN" \\
  "${media}/plain?call_id=call-1&leg=caller,callee&encoding=s16le&rate=16000&channels=2"`,
      "A recording with a speaker on each channel, in real time. Without a token, leave the header out.",
    ],
    "Asterisk (AudioSocket)": [
      `; callscreen.toml
[audiosocket]
listen = "${location.hostname}:9092"
allow_ips = ["10.0.0.20/32"]

[audiosocket.uuids."40325ec2-5efd-4bd3-805f-53576e581d13"]
call_id = "line-1"
leg = "caller"

; extensions.conf
exten => 700,1,Answer()
 same => n,AudioSocket(40325ec2-5efd-4bd3-805f-53576e581d13,${location.hostname}:9092)`,
      "allow_ips is your Asterisk's address. Restart the gateway, reload the dialplan and dial 700.",
    ],
  };
}

export function showRecipes() {
  byId("recipes").replaceChildren(...Object.entries(recipes()).map(([name, [text, note]], index) => {
    const copy = make("button", { type: "button", ariaLabel: `Copy: ${name}` }, "Copy");
    copy.addEventListener("click", doing(async () => {
      if (!navigator.clipboard) throw new Error("Browsers allow copying on HTTPS pages and localhost only; select the text instead.");
      await navigator.clipboard.writeText(text);
      byId("announcement").textContent = `Copied: ${name}`;
      copy.textContent = "Copied";
    }));
    const shown = make("pre", { tabIndex: 0, ariaLabel: name, role: "region" }, text); // focusable, so that it can be scrolled by keyboard
    return make("details", { open: !index }, make("summary", {}, name), make("p", { className: "note" }, note), shown, copy);
  }));
}
