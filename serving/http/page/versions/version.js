// One version of a video: its title, its thumbnail, and its score.
import { el } from "../common/dom.js";
import { filesIn } from "../video/pictures.js";
import { pictureField } from "../video/picture-field.js";
import { thumbnail } from "../answer/answer.js";
import { chance, count, percent } from "../common/words.js";

let made = 0;

export class Version {
  /** `onchange()` is called when its thumbnail changes, `onremove()` when its button is pressed. */
  constructor({ title = "", url = "", note = "" }, { onchange, onremove }) {
    made += 1;
    this.result = el("div", { class: "outcome" });
    this.title = el("input", { id: `version-title-${made}`, maxlength: "10000", autocomplete: "off", dir: "auto", value: title, "aria-describedby": `version-error-${made}` });
    this.error = el("p", { class: "error", id: `version-error-${made}`, role: "alert" });
    this.heading = el("h3", { id: `version-${made}` });
    this.crown = el("p", { class: "crown" }, "Winner");
    this.picture = pictureField({ title: this.title, onchange });
    this.remover = el("button", { type: "button", class: "quiet", onclick: onremove }, "Remove");
    this.element = el("li", { class: "card version" },
      el("div", { role: "group", "aria-labelledby": this.heading.id },
        el("div", { class: "version-head" }, this.heading, this.remover),
        el("div", { class: "field" }, el("label", { for: this.title.id }, "Title"), this.title, this.error),
        this.picture.element, this.result));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.picture.take(filesIn(event.dataTransfer));
    });
    this.picture.set(url, note);
  }

  rename(name, isRemovable) {
    this.name = name;
    this.heading.textContent = `Version ${name}`;
    this.remover.setAttribute("aria-label", `Remove version ${name}`);
    this.remover.hidden = !isRemovable;
  }

  /** Whether it has a title; if not, shows an error beside the field. */
  check() {
    const isNamed = this.title.value.trim() !== "";
    this.error.textContent = isNamed ? "" : "Enter a title.";
    this.title.toggleAttribute("aria-invalid", !isNamed);
    if (!isNamed) this.title.setAttribute("aria-invalid", "true");
    return isNamed;
  }

  request(common) {
    const { thumbnail_url: ignored, ...rest } = common;
    return { ...rest, title: this.title.value, ...(this.picture.value ? { thumbnail_url: this.picture.value } : {}) };
  }

  forget() {
    this.result.replaceChildren();
    this.crown.remove();
    this.element.classList.remove("winner");
  }

  /** Show an answer, or why there is none; a score only if there is a basis for comparing it. */
  show(answer, url, isBased) {
    this.result.replaceChildren(...(answer.error
      ? [el("p", { class: "error" }, `Not scored: ${answer.error.detail}`)]
      : outcome(answer, url, isBased)));
  }

  win() {
    this.element.classList.add("winner");
    this.heading.after(this.crown);
  }
}

function outcome(answer, url, isBased) {
  const bar = el("span", { class: "bar" });
  bar.style.width = `${answer.viral_score * 100}%`;
  const failed = answer.modalities.image.state === "failed";
  const score = isBased ? [
    el("p", { class: "score" }, el("strong", {}, percent(answer.viral_score)), ` ${chance(answer).toLowerCase()}`),
    el("span", { class: "bar-track", "aria-hidden": "true" }, bar),
    el("p", {}, `${count(answer.predicted_velocity)} views per day`),
  ] : [el("p", { class: "score" }, el("strong", {}, "No basis"), " for a score of this version")];
  return [
    failed && thumbnail(url, answer.modalities.image),
    ...score,
    answer.warnings.length > 0 && el("details", {}, el("summary", {}, "Worth knowing"),
      el("ul", {}, answer.warnings.map((sentence) => el("li", {}, sentence)))),
  ].filter(Boolean);
}
