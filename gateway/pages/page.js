// Helpers of the pages. Names of calls and legs are untrusted: they are inserted as text, never as markup.

export const EVENTS = ["score", "alert.raised", "alert.cleared", "alert.verified", "alert.evidence", "voice.expected", "feedback.given"];

export function byId(id) {
  return document.getElementById(id);
}

// Create an element: `make("p", { className: "note" }, "text", otherElement)`.
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

// Return an event handler that runs an action, and shows its error.
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

// Run an action now and at intervals, never concurrently; show its error while it fails.
export async function repeatedly(everyMs, action) {
  let fault = "";
  await action().catch((error) => { fault = error.message; });
  if (byId("connection").textContent !== fault) byId("connection").textContent = fault;
  setTimeout(repeatedly, everyMs, everyMs, action);
}

// Run an action for each event while the page is open; show the error that ends the stream.
export async function forEach(events, action) {
  try {
    for await (const event of events) action(event);
  } catch (error) {
    byId("fault").textContent = error.message;
  }
}
