// What both pages ask of the gateway, and how they show it. Names of calls and legs come from strangers: they only ever
// become text, never markup.

const RETRY_MS = 2000;
const EVERY_MS = 1000;
export const EVENTS = "alert.raised,alert.cleared,alert.verified,voice.expected";

export class Gateway {
  constructor(token) {
    this.token = token;
  }

  // Ask for something; throws an Error with the gateway's own words when it says no.
  async fetch(path, options = {}) {
    const authorization = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const answer = await fetch(path, { ...options, headers: { ...authorization, ...options.headers } });
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(problem.detail ?? `${answer.status} ${answer.statusText}`), { status: answer.status });
  }

  // Call `onEvent` with each event from now on; a lost connection is resumed where it broke off.
  follow(query, onEvent) {
    const protocols = ["cloudevents.json"];
    if (this.token) protocols.push(`bearer.${this.token}`); // a browser cannot set headers on a websocket
    const url = new URL("/v1/events", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = new URLSearchParams(query);
    const connect = () => {
      const socket = new WebSocket(url, protocols);
      socket.onmessage = (message) => {
        const event = JSON.parse(message.data);
        url.searchParams.set("last_event_id", event.data.last_event_id ?? event.id);
        onEvent(event);
      };
      socket.onclose = () => setTimeout(connect, RETRY_MS);
    };
    connect();
  }
}

export function byId(id) {
  return document.getElementById(id);
}

// Do what a button is for, and show why when it fails.
export function doing(action) {
  return async (event) => {
    event?.preventDefault();
    byId("fault").textContent = "";
    try {
      await action();
    } catch (error) {
      byId("fault").textContent = error.message;
    }
  };
}

// Do something every second, and show why for as long as it fails.
export function everySecond(action) {
  setInterval(async () => {
    let fault = "";
    await action().catch((error) => { fault = error.message; });
    byId("connection").textContent = fault;
  }, EVERY_MS);
}

export function showLegs(body, rows) {
  body.replaceChildren(...rows.map(({ call, leg }) => row([
    call, leg.leg, leg.role, `${leg.speech_s.toFixed(1)} s`, leg.speech_s ? likelihood(leg.p_synthetic) : "no speech yet",
    [
      leg.verdict.replace("_", " "),
      ...(leg.alert === "undecided" ? [] : [`alert ${leg.alert}`]),
      ...(leg.windows_crosstalk ? [`${leg.windows_crosstalk} windows were another leg's voice`] : []),
    ].join(", "),
  ])));
}

export function showAlert({ type, time, data }) {
  if (!EVENTS.split(",").includes(type)) return; // gaps and heartbeats come unasked
  const item = document.createElement("li");
  item.className = type.split(".")[1];
  const p = data.p_synthetic.toFixed(2);
  const said = {
    raised: `sounds synthetic (${data.stage}, p ${p})`,
    cleared: "sounds human again",
    expected: `is an expected machine (p ${p})`,
    verified: `verified: ${data.verdict} (${data.reason}, p ${p})`,
  }[item.className];
  item.textContent = `${new Date(time).toLocaleTimeString()} ${data.call_id}: ${data.leg} ${said}, at ${data.media_time_s.toFixed(1)} s`;
  byId("alerts").prepend(item);
  while (byId("alerts").children.length > 100) byId("alerts").lastChild.remove();
}

function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) {
    const place = document.createElement("td");
    place.append(cell);
    line.append(place);
  }
  return line;
}

function likelihood(p) {
  const meter = document.createElement("meter");
  Object.assign(meter, { min: 0, max: 1, low: 0.5, high: 0.9, optimum: 0, value: p });
  const both = document.createElement("span");
  both.append(meter, ` ${p.toFixed(2)}`);
  return both;
}
