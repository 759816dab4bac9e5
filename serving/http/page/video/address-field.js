// The YouTube address: fills in what is known about its video, wherever the address was pasted.
import { el } from "../common/dom.js";
import { knownOf, sharedIdOf, thumbnailOf, videoIdOf } from "./youtube.js";

/**
 * Watches `input`, and `others`, text fields into which people paste an address by mistake. `put(url, fields)`
 * is called with the picture's address at once, and again with `fields` if YouTube returns them.
 */
export function watchAddress(input, note, others, { put, needsKey }) {
  let current = null;

  async function look(again = false) {
    const id = sharedIdOf(input.value);
    if (id === current && !again) return;
    current = id;
    note.classList.toggle("error", !id && input.value.trim() !== "");
    if (!id) {
      note.textContent = input.value.trim() ? "Not the address of a YouTube video, such as https://youtu.be/dQw4w9WgXcQ." : "";
      return;
    }
    put(thumbnailOf(id), null);
    note.replaceChildren(el("span", { class: "spinner", "aria-hidden": "true" }), " Asking YouTube\u2026");
    const { fields, note: sentence, kind } = await knownOf(id);
    if (current !== id) return; // another address by now
    if (fields) put(thumbnailOf(id), fields);
    note.textContent = sentence;
    if (kind === "key") needsKey(() => look(true));
  }

  input.addEventListener("input", () => { if (sharedIdOf(input.value) || current) look(); });
  input.addEventListener("change", () => look());
  for (const other of others) {
    other.addEventListener("input", () => {
      if (!videoIdOf(other.value)) return;
      input.value = other.value;
      other.value = "";
      look();
    });
  }
  return { clear() { input.value = ""; current = null; note.textContent = ""; } };
}
