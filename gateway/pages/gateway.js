// What the pages ask of the gateway, and small helpers. Names of calls and legs come from strangers: they only ever become
// text, never markup.

const RETRY_MS = 2000;
export const EVENTS = "score,alert.raised,alert.cleared,alert.verified,voice.expected";

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

// Make an element: `make("p", { className: "note" }, "text", otherElement)`.
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
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

// Do something now and every so often, never twice at once, and show why for as long as it fails.
export async function repeatedly(everyMs, action) {
  let fault = "";
  await action().catch((error) => { fault = error.message; });
  if (byId("connection").textContent !== fault) byId("connection").textContent = fault;
  setTimeout(repeatedly, everyMs, everyMs, action);
}
