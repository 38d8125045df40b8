// What people say of an alert: two buttons, and what was said last.

import { doing, make } from "./page.js";

const CHOICES = {
  confirmed: ["It was synthetic", "confirmed: it was synthetic"],
  dismissed: ["False alarm", "dismissed: a false alarm"],
};

export class Feedback {
  // `name` tells which alert it is, for those who do not see where the buttons are.
  constructor(gateway, alertId, name) {
    this.said = make("span", { className: "note", role: "status" });
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
    this.element = make("p", { className: "feedback" }, ...buttons, this.said);
  }

  show(verdict) {
    this.said.textContent = CHOICES[verdict]?.[1] ?? "";
  }
}
