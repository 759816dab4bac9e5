// Scores a CSV file: drop it, watch the progress, download it with the scores.
import { el } from "../common/dom.js";
import { filesIn } from "../video/pictures.js";
import { Desk, statusLine } from "../common/status.js";
import { brief, count, percent } from "../common/words.js";
import { decoded, formatted, isBinary, parse } from "./csv.js";
import { namesOf, outcomesOf, scoreRows, scoredLines, videoOf } from "./scoring.js";

const MAX_BYTES = 20_000_000;
const MAX_ROWS = 20_000;
const SHOWN = 100;

export class FilePanel {
  /** `send(videos, signal)` scores a batch; `explain(problem, output, again)` shows why it could not. */
  constructor(panel, { send, explain }) {
    Object.assign(this, { send, explain });
    this.input = el("input", { type: "file", accept: ".csv,text/csv", class: "visually-hidden", onchange: () => { this.take(this.input.files[0]); this.input.value = ""; } });
    this.name = el("p", { class: "hint" }, "One row for each video. Columns are named as in the API: title, view_count, published_at and so on. Views, likes, comments, length, published and thumbnail are understood, too; the rest is kept and ignored.");
    const button = el("button", { type: "button", onclick: () => (this.desk.isBusy || this.run()), disabled: true }, "Score the rows");
    const line = statusLine();
    this.desk = new Desk(button, line);
    this.stopper = el("button", { type: "button", class: "plain", hidden: true, onclick: () => this.current?.abort() }, "Stop");
    this.progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Rows scored" });
    this.output = el("div", { class: "file-output" });
    this.element = el("div", { class: "card file" },
      el("h2", {}, "Score a file"),
      el("div", { class: "file-drop" },
        el("p", {}, "Drop a CSV file here, or"),
        el("label", { class: "button plain" }, this.input, "Choose a CSV file")),
      this.name, el("div", { class: "row" }, button, this.stopper, line), this.progress, this.output);
    for (const kind of ["dragover", "dragleave", "drop"]) {
      this.element.addEventListener(kind, (event) => { event.preventDefault(); this.element.classList.toggle("over", kind === "dragover"); });
    }
    this.element.addEventListener("drop", (event) => { event.stopPropagation(); this.take(filesIn(event.dataTransfer)[0]); });
    panel.append(this.element);
  }

  async take(file) {
    if (!file) return;
    this.current?.abort();
    this.output.replaceChildren();
    this.desk.done();
    this.desk.button.disabled = true;
    const refuse = (sentence) => { this.name.textContent = sentence; this.name.classList.add("error"); };
    if (file.size > MAX_BYTES) return refuse(`${file.name} has ${brief(file.size)} bytes, at most ${brief(MAX_BYTES)} fit in a browser. Use clients/score_csv.py for it.`);
    let table;
    try {
      const bytes = new Uint8Array(await file.arrayBuffer());
      if (isBinary(bytes)) return refuse(`${file.name} is not a CSV file. Save a workbook as CSV first.`);
      table = parse(decoded(bytes));
    } catch (error) { // a folder cannot be read
      return refuse(`${file.name}: ${error.message}`);
    }
    if (!table.rows.length) return refuse(`${file.name} has no rows below its header.`);
    if (table.rows.length > MAX_ROWS) return refuse(`${file.name} has ${count(table.rows.length)} rows, at most ${count(MAX_ROWS)} fit in a browser. Use clients/score_csv.py for it.`);
    const names = namesOf(table.header);
    if (!names.includes("title")) return refuse(`${file.name} has no column title; its columns are ${table.header.slice(0, 20).join(", ")}.`);
    this.name.classList.remove("error");
    Object.assign(this, { table, filename: file.name, videos: table.rows.map((cells) => videoOf(names, cells)), outcomes: outcomesOf(table) });
    this.name.textContent = `${file.name}: ${rows(table.rows.length)}; columns ${table.header.map((name, index) => (name === names[index] ? name : `${name} as ${names[index]}`)).filter(Boolean).join(", ")}.`;
    this.desk.button.disabled = false;
    this.desk.button.focus();
  }

  async run() {
    this.current = new AbortController();
    const { signal } = this.current;
    if (!this.outcomes.includes(null)) this.outcomes = outcomesOf(this.table);
    const leave = (event) => event.preventDefault(); // the scores are lost with the page
    window.addEventListener("beforeunload", leave);
    this.stopper.hidden = false;
    this.progress.hidden = false;
    this.output.replaceChildren();
    this.desk.busy(`0 of ${rows(this.outcomes.length)} scored`);
    let failure = null;
    try {
      await scoreRows(this.videos, this.outcomes, { send: (videos) => this.send(videos, signal), onProgress: () => this.showProgress(), signal });
    } catch (problem) {
      if (!signal.aborted) failure = problem;
    }
    window.removeEventListener("beforeunload", leave);
    if (this.current.signal !== signal) return; // another file by now
    this.stopper.hidden = true;
    this.progress.hidden = true;
    this.desk.done(this.summary());
    this.show();
    if (failure) this.explain(failure, this.output, () => this.run());
  }

  showProgress() {
    const done = this.outcomes.filter(Boolean).length;
    this.progress.value = done / this.outcomes.length;
    this.desk.line.textContent = `${count(done)} of ${rows(this.outcomes.length)} scored`;
  }

  summary() {
    const failed = this.outcomes.filter((outcome) => outcome?.error).length;
    const left = this.outcomes.filter((outcome) => outcome === null).length;
    return [`${rows(this.outcomes.length - failed - left)} scored`, failed && `${count(failed)} refused`, left && `${count(left)} left`].filter(Boolean).join(", ");
  }

  show() {
    const file = new Blob([formatted(scoredLines(this.table, this.outcomes))], { type: "text/csv" });
    URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(file);
    const name = `${this.filename.replace(/\.csv$/i, "")}-scored.csv`;
    const cells = ({ outcome, title }) => (outcome.error
      ? [el("td", { dir: "auto" }, title), el("td", { colspan: 2, class: "error" }, outcome.error.detail)]
      : [el("td", { dir: "auto" }, title), el("td", {}, outcome.in_range ? percent(outcome.viral_score) : "no verdict"), el("td", {}, count(outcome.predicted_velocity))]);
    const listed = this.outcomes.flatMap((outcome, index) => (outcome ? [{ outcome, title: this.videos[index].title ?? "" }] : [])).slice(0, SHOWN);
    this.output.replaceChildren(
      el("p", {}, el("a", { class: "button", href: this.address, download: name }, "Download with all columns")),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scored rows" },
        el("table", {}, el("caption", { class: "hint" }, listed.length < this.outcomes.length ? `The first ${rows(listed.length)}` : "All rows"),
          el("thead", {}, el("tr", {}, ["Title", "Viral score", "Views per day"].map((name) => el("th", { scope: "col" }, name)))),
          el("tbody", {}, listed.map((each) => el("tr", {}, cells(each)))))));
  }
}

const rows = (number) => `${count(number)} ${number === 1 ? "row" : "rows"}`;
