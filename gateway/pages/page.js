// Small helpers of the pages. Names of calls and legs come from strangers: they only ever become text, never markup.

export const EVENTS = ["score", "alert.raised", "alert.cleared", "alert.verified", "alert.evidence", "voice.expected", "feedback.given"];

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

// Do something with each event for as long as the page is open, and show why when no more come.
export async function forEach(events, action) {
  try {
    for await (const event of events) action(event);
  } catch (error) {
    byId("fault").textContent = error.message;
  }
}
