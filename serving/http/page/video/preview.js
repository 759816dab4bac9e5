// A title as YouTube's list on a phone shows it beside a 120-pixel picture: two lines, then an ellipsis.
import { el } from "../common/dom.js";

/** `{parts, update}`: its elements; they follow `input`, the title's field. */
export function cutTitle(input) {
  const title = el("p", { class: "cut", dir: "auto" });
  const note = el("p", { class: "hint" });
  const update = () => {
    const text = input.value.trim();
    if (title.textContent !== text) title.textContent = text;
    const length = [...text].length;
    const shown = text ? shownOf(title) : null;
    note.textContent = shown === null ? "" : `A phone shows about ${shown} of the title's ${length} characters.`;
  };
  input.addEventListener("input", update);
  new ResizeObserver(update).observe(title); // a hidden tab has no lines yet
  return { parts: [title, note], update };
}

/** How many characters of an element's text its lines have room for; null if all of them fit, or it is hidden. */
function shownOf(element) {
  if (!element.clientHeight || element.scrollHeight <= element.clientHeight + 1) return null;
  const node = element.firstChild;
  const bottom = element.getBoundingClientRect().bottom + 1;
  const range = document.createRange();
  let [fits, tooMany] = [0, node.length];
  while (tooMany - fits > 1) {
    const middle = (fits + tooMany) >> 1;
    range.setStart(node, 0);
    range.setEnd(node, middle);
    if (range.getBoundingClientRect().bottom <= bottom) fits = middle;
    else tooMany = middle;
  }
  return [...node.data.slice(0, fits)].length;
}
