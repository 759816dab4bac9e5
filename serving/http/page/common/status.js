// The button that sends a form, and the status line beside it.
import { el } from "./dom.js";

/** A status line that screen readers read out. */
export const statusLine = () => el("p", { class: "status", role: "status" });

/** Wraps a button and its line; `busy(sentence)` spins until `done(sentence)`. */
export class Desk {
  constructor(button, line) {
    Object.assign(this, { button, line });
    this.label = button.textContent;
  }

  get isBusy() {
    return this.button.getAttribute("aria-disabled") === "true";
  }

  busy(sentence, label = "Scoring\u2026") {
    this.button.setAttribute("aria-disabled", "true");
    this.button.replaceChildren(el("span", { class: "spinner", "aria-hidden": "true" }), label);
    this.line.textContent = sentence;
  }

  done(sentence = "") {
    this.button.removeAttribute("aria-disabled");
    this.button.replaceChildren(this.label);
    this.line.textContent = sentence;
  }
}
