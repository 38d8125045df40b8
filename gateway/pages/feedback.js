// Feedback on an alert: two buttons, and the last feedback.

import { doing, make } from "./page.js";

const CHOICES = {
  confirmed: ["It was synthetic", "confirmed: it was synthetic"],
  dismissed: ["False alarm", "dismissed: a false alarm"],
};

export class Feedback {
  // `name` identifies the alert for screen readers.
  constructor(gateway, alertId, name) {
    this.given = make("span", { className: "note", role: "status" });
    const buttons = Object.entries(CHOICES).map(([verdict, [words]]) => {
      const button = make("button", { type: "button", ariaLabel: `${words}: ${name}` }, words);
      button.addEventListener("click", doing(async () => {
        await gateway.fetch(`/v1/alerts/${encodeURIComponent(alertId)}/feedback`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ verdict }),
        });
        this.show(verdict);
      }));
      return button;
    });
    this.element = make("p", { className: "feedback" }, ...buttons, this.given);
  }

  show(verdict) {
    this.given.textContent = CHOICES[verdict]?.[1] ?? "";
  }
}
