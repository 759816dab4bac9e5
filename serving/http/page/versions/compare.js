// "Not published yet": compares up to four titles or thumbnails of one video, without counts.
import { el } from "../common/dom.js";
import { Desk, statusLine } from "../common/status.js";
import { brief, points } from "../common/words.js";
import { filesIn } from "../video/pictures.js";
import { verdict } from "./verdict.js";
import { Version } from "./version.js";

const MAX_VERSIONS = 4;
const MIN_VERSIONS = 2;

export class Comparison {
  /** `scored()` is the other form's request, `ask(videos, desk, output)` scores many, `model()` is /model/info's answer or null. */
  constructor(panel, { scored, ask, model, example }) {
    Object.assign(this, { scored, ask, model });
    this.versions = [];
    this.touched = false;
    this.grid = el("ol", { class: "versions" });
    this.output = el("div", { class: "verdict", "aria-live": "polite" });
    this.basis = el("p", { class: "hint" });
    this.published = el("input", { type: "checkbox", id: "published", onchange: () => this.forget() });
    this.publishedNote = el("label", { for: "published" });
    this.publishedRow = el("p", { class: "check" }, this.published, this.publishedNote);
    this.length = el("input", { id: "version-length", type: "number", min: "0", step: "any", inputmode: "decimal" });
    this.description = el("textarea", { id: "version-description", rows: "2", maxlength: "10000", dir: "auto" });
    this.adder = el("button", { type: "button", class: "plain", onclick: () => this.add({}, true) }, "Add a version");
    const button = el("button", { type: "submit" }, "Compare them");
    const line = statusLine();
    this.desk = new Desk(button, line);
    this.form = el("form", { novalidate: true, onsubmit: (event) => this.submit(event) },
      this.intro(() => this.fill(example())), this.grid,
      el("div", { class: "send" }, button, line), this.output);
    this.form.addEventListener("input", () => { this.touched = true; this.forget(); });
    this.form.addEventListener("dragover", (event) => event.preventDefault());
    this.form.addEventListener("drop", (event) => { event.preventDefault(); this.drop(filesIn(event.dataTransfer)); });
    panel.append(this.form);
  }

  intro(showExample) {
    return el("div", { class: "card intro" },
      el("h2", {}, "Which title, which thumbnail?"),
      el("p", {}, "Compare two to four versions of a video that is not published yet; no counts are needed. Drop an image onto a version, or several images anywhere here."),
      this.basis, this.publishedRow,
      el("details", {}, el("summary", {}, "Length and description ", el("span", { class: "optional" }, "optional, the same for all")),
        el("fieldset", { class: "two" },
          el("legend", { class: "visually-hidden" }, "The same for all versions"),
          el("div", { class: "field" }, el("label", { for: "version-length" }, "Length in seconds"), this.length),
          el("div", { class: "field" }, el("label", { for: "version-description" }, "Description"), this.description))),
      el("p", { class: "row" }, this.adder, el("button", { type: "button", class: "plain", onclick: showExample }, "Try an example")));
  }

  /** Start with the other form's title and thumbnail, unless the versions have been edited. */
  open() {
    const { title = "", thumbnail_url: url = "", view_count: views } = this.scored();
    this.publishedRow.hidden = views === undefined;
    if (views === undefined) this.published.checked = false;
    else this.publishedNote.textContent = `It is published: use the ${brief(views)} views and the other fields of \u201cScore a video\u201d`;
    const { comparison } = this.model() ?? {};
    this.basis.textContent = !this.model() ? "" : comparison
      ? `This checkpoint can tell titles apart that differ by at least ${points(comparison.viral_score).slice(1)} percentage points; anything less is a tie.`
      : "This checkpoint gives no basis for comparing titles: on its test data they did not improve the scores measurably.";
    if (!this.touched) this.fill([{ title, url }, { title, url }], false);
  }

  /** What all versions share. */
  common() {
    if (this.published.checked) return this.scored();
    const [length, description] = [this.length.valueAsNumber, this.description.value];
    return { ...(Number.isNaN(length) ? {} : { duration_seconds: length }), ...(description.trim() ? { description } : {}) };
  }

  fill(versions, touched = true) {
    this.versions.forEach(({ element }) => element.remove());
    this.versions = [];
    versions.forEach((version) => this.add(version));
    this.touched = touched;
  }

  add(content, focus = false) {
    if (this.versions.length === MAX_VERSIONS) return null;
    const version = new Version(content, {
      onchange: () => { this.touched = true; this.forget(); },
      onremove: () => this.remove(version),
    });
    this.versions.push(version);
    this.grid.append(version.element);
    this.rename();
    if (focus) version.title.focus();
    return version;
  }

  remove(version) {
    version.element.remove();
    this.versions = this.versions.filter((other) => other !== version);
    this.rename();
    this.touched = true;
    this.adder.focus();
  }

  rename() {
    this.versions.forEach((version, index) => version.rename("ABCD"[index], this.versions.length > MIN_VERSIONS));
    this.adder.disabled = this.versions.length === MAX_VERSIONS;
    this.forget();
  }

  /** Clear the scores: they no longer match the versions. */
  forget() {
    this.output.replaceChildren();
    this.versions.forEach((version) => version.forget());
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
    if (this.desk.isBusy) return;
    this.forget();
    const nameless = this.versions.filter((version) => !version.check());
    if (nameless.length) {
      nameless[0].title.focus();
      return;
    }
    const videos = this.versions.map((version) => version.request(this.common()));
    const answers = await this.ask(videos, this.desk, this.output);
    if (answers) this.show(videos, answers);
  }

  show(videos, answers) {
    const entries = this.versions.map((version, index) => ({
      version, name: version.name, title: videos[index].title, thumbnail: videos[index].thumbnail_url ?? "", answer: answers[index],
    }));
    const scored = entries.filter(({ answer }) => !answer.error);
    const decided = scored.length > 0 && verdict(scored, this.model());
    for (const { version, answer, thumbnail } of entries) version.show(answer, thumbnail, this.published.checked || decided.isBased);
    if (!decided) {
      this.output.replaceChildren(el("p", { class: "error" }, "No version could be scored."));
      this.desk.done("No version could be scored.");
      return;
    }
    const { winner, title, reasons } = decided;
    entries.find(({ name }) => name === winner)?.version.win();
    this.output.replaceChildren(el("div", { class: `card decided ${winner ? "won" : ""}` },
      el("h2", {}, title), ...reasons.map((reason) => el("p", {}, reason))));
    this.output.scrollIntoView({ block: "nearest" });
  }
}
