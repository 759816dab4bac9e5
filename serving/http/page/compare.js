// Compares up to four titles or thumbnails of one video; everything else comes from the form.
import { announce, el } from "./dom.js";
import { filesIn } from "./pictures.js";
import { pictureField } from "./picture-field.js";
import { thumbnail } from "./answer.js";
import { verdict } from "./verdict.js";
import { brief, chance, count, percent } from "./words.js";

const MAX_VERSIONS = 4;
const MIN_VERSIONS = 2;
let made = 0;

export class Comparison {
  /** `common()` is the form's request, `ask(videos, output)` scores many, `model()` is /model/info's answer or null. */
  constructor(panel, { common, ask, model, example }) {
    Object.assign(this, { common, ask, model });
    this.versions = [];
    this.touched = false;
    this.grid = el("ol", { class: "versions" });
    this.output = el("div", { class: "verdict", "aria-live": "polite" });
    this.facts = el("p", { class: "hint" });
    this.adder = el("button", { type: "button", class: "plain", onclick: () => this.add({}, true) }, "Add a version");
    this.form = el("form", { novalidate: true, onsubmit: (event) => this.submit(event) },
      el("div", { class: "card intro" },
        el("h2", {}, "Which title, which thumbnail?"),
        el("p", {}, "Compare two to four versions of one video. Drop an image onto a version, or several images anywhere here."),
        this.facts,
        el("p", { class: "row" }, this.adder,
          el("button", { type: "button", class: "plain", onclick: () => this.fill(example()) }, "Try an example"))),
      this.output, this.grid,
      el("p", { class: "row" }, el("button", { type: "submit" }, "Compare them")));
    this.form.addEventListener("input", () => { this.touched = true; this.forget(); });
    this.form.addEventListener("dragover", (event) => event.preventDefault());
    this.form.addEventListener("drop", (event) => { event.preventDefault(); this.drop(filesIn(event.dataTransfer)); });
    panel.append(this.form);
  }

  /** Start with the form's title and thumbnail, unless the versions have been edited. */
  open() {
    const { title = "", thumbnail_url: url = "", view_count: views, published_at: since } = this.common();
    this.facts.textContent = `Everything else comes from the form: ${views === undefined ? "views not known" : `${brief(views)} views so far`}, publication time ${since ? "known" : "unknown"}.`;
    if (!this.touched) this.fill([{ title, url }, { title, url }], false);
  }

  fill(versions, touched = true) {
    [...this.versions].forEach((version) => this.remove(version, true));
    versions.forEach((version) => this.add(version));
    this.touched = touched;
  }

  add({ title = "", url = "", note = "" }, focus = false) {
    if (this.versions.length === MAX_VERSIONS) return null;
    const version = { result: el("div", { class: "outcome" }), error: el("p", { class: "error", role: "alert" }) };
    version.title = el("input", { maxlength: "10000", autocomplete: "off", value: title });
    made += 1;
    version.heading = el("h3", { id: `version-${made}` });
    version.picture = pictureField({ onchange: () => { this.touched = true; this.forget(); } });
    version.remover = el("button", { type: "button", class: "quiet", onclick: () => this.remove(version) }, "Remove");
    version.element = el("li", { class: "card version" },
      el("div", { role: "group", "aria-labelledby": version.heading.id },
        el("div", { class: "version-head" }, version.heading, version.remover),
        el("label", {}, "Title", version.title), version.error, version.picture.element, version.result));
    version.element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      version.picture.take(filesIn(event.dataTransfer));
    });
    version.picture.set(url, note);
    this.versions.push(version);
    this.grid.append(version.element);
    this.rename();
    if (focus) version.title.focus();
    return version;
  }

  remove(version, silently = false) {
    version.element.remove();
    this.versions = this.versions.filter((other) => other !== version);
    this.rename();
    if (!silently) { this.touched = true; this.adder.focus(); }
  }

  rename() {
    this.versions.forEach((version, index) => {
      version.name = "ABCD"[index];
      version.heading.textContent = `Version ${version.name}`;
      version.remover.setAttribute("aria-label", `Remove version ${version.name}`);
      version.remover.hidden = this.versions.length <= MIN_VERSIONS;
    });
    this.adder.disabled = this.versions.length === MAX_VERSIONS;
    this.forget();
  }

  /** Clear the scores: they no longer match the versions. */
  forget() {
    this.output.replaceChildren();
    for (const { result, element } of this.versions) {
      result.replaceChildren();
      element.classList.remove("winner");
    }
  }

  drop(files) {
    let leftOut = 0;
    for (const file of files) {
      const version = this.versions.find(({ picture, awaits }) => !picture.value && !awaits)
        ?? this.add({ title: this.versions[0].title.value });
      if (!version) {
        leftOut += 1;
        continue;
      }
      version.awaits = true; // reading a file takes a moment, and the next file must not take this version
      version.picture.take([file]).finally(() => {
        version.awaits = false;
        if (leftOut) this.output.replaceChildren(el("p", { class: "error" }, `At most four versions; ${leftOut} ${leftOut === 1 ? "image was" : "images were"} left out.`));
      });
    }
  }

  async submit(event) {
    event.preventDefault();
    this.forget();
    const nameless = this.versions.filter((version) => !version.title.value.trim());
    for (const version of this.versions) version.error.textContent = nameless.includes(version) ? "Enter a title." : "";
    if (nameless.length) {
      nameless[0].title.focus();
      return;
    }
    const videos = this.versions.map(({ title, picture }) => {
      const { thumbnail_url: ignored, ...rest } = this.common();
      return { ...rest, title: title.value, ...(picture.value ? { thumbnail_url: picture.value } : {}) };
    });
    const answers = await this.ask(videos, this.output);
    if (answers) this.show(videos, answers);
  }

  show(videos, answers) {
    const entries = this.versions.map((version, index) => ({
      version, name: version.name, title: videos[index].title, thumbnail: videos[index].thumbnail_url ?? "", answer: answers[index],
    }));
    const scored = entries.filter(({ answer }) => !answer.error);
    for (const { version, answer, thumbnail: url } of entries) {
      version.result.replaceChildren(...(answer.error
        ? [el("p", { class: "error" }, `Not scored: ${answer.error.detail}`)]
        : outcome(answer, url)));
    }
    if (!scored.length) {
      this.output.replaceChildren(el("p", { class: "error" }, "No version could be scored."));
      return;
    }
    const { winner, title, reasons } = verdict(scored, this.model());
    const won = entries.find(({ name }) => name === winner);
    won?.version.element.classList.add("winner");
    won?.version.result.prepend(el("p", { class: "crown" }, "Winner"));
    this.output.replaceChildren(el("div", { class: `card decided ${winner ? "won" : ""}` },
      el("h2", {}, title), ...reasons.map((reason) => el("p", {}, reason))));
    announce(title);
  }
}

function outcome(answer, url) {
  const bar = el("span", { class: "bar" });
  bar.style.width = `${answer.viral_score * 100}%`;
  const failed = answer.modalities.image.state === "failed";
  return [
    failed && thumbnail(url, answer.modalities.image),
    el("p", { class: "score" }, el("strong", {}, percent(answer.viral_score)), ` ${chance(answer).toLowerCase()}`),
    el("span", { class: "bar-track", "aria-hidden": "true" }, bar),
    el("p", {}, `${count(answer.predicted_velocity)} views per day`),
    answer.warnings.length > 0 && el("details", {}, el("summary", {}, "Worth knowing"),
      el("ul", {}, answer.warnings.map((sentence) => el("li", {}, sentence)))),
  ].filter(Boolean);
}
