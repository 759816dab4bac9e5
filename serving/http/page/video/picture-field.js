// The thumbnail field: a URL, or an image dropped, pasted or chosen from disk, shown as on a phone.
import { el } from "../common/dom.js";
import { filesIn, fromFile } from "./pictures.js";
import { cutTitle } from "./preview.js";
import { thumbnailOf, videoIdOf } from "./youtube.js";

let fields = 0;

/**
 * `{element, get value, set(url, note, isShown)}`; `title` is the title's input, `name` the form name of the URL.
 * With `isShown` false the picture's host is not contacted: the address came from someone else.
 */
export function pictureField({ title, name = null, label = "Thumbnail", onchange = () => {} }) {
  fields += 1;
  const id = `picture-${fields}`;
  let picture = ""; // from disk or an example; a typed URL replaces it
  const image = el("img", { alt: "", hidden: true, referrerpolicy: "no-referrer", decoding: "async" });
  const empty = el("span", { class: "empty" }, "Drop or paste an image");
  const phone = cutTitle(title);
  const address = el("input", {
    id, name, type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-note`,
  });
  const file = el("input", { type: "file", accept: "image/*", class: "visually-hidden" });
  const note = el("p", { id: `${id}-note`, class: "hint note", "aria-live": "polite" });
  const remove = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => { set(""); address.focus(); } }, "Remove");
  const element = el("div", { class: "picture" },
    el("label", { for: id }, label, " ", el("span", { class: "optional" }, "URL or file, optional")),
    el("div", { class: "picture-inputs" }, address, el("label", { class: "button plain" }, file, "Choose a file")),
    note,
    el("div", { class: "phone" }, el("div", { class: "drop" }, image, empty), el("div", { class: "on-phone" }, ...phone.parts, remove)));

  const value = () => address.value.trim() || picture;
  const isShown = (shown) => { image.hidden = !shown; empty.hidden = shown; };

  function show() {
    const url = value();
    remove.hidden = !url;
    if (!url) {
      image.removeAttribute("src");
      isShown(false);
    } else if (/^(data:image\/|https?:)/i.test(url)) {
      image.src = url;
      isShown(true);
    } else {
      isShown(false);
    }
  }

  function set(url, text = "", { isShown: mayLoad = true } = {}) {
    const typed = !url.startsWith("data:");
    address.value = typed ? url : "";
    picture = typed ? "" : url;
    note.textContent = text;
    note.classList.remove("error");
    if (mayLoad) show();
    else { image.removeAttribute("src"); isShown(false); remove.hidden = false; }
    phone.update();
    onchange();
  }

  async function take(files) {
    if (!files.length) return;
    try {
      const { url, note: text } = await fromFile(files[0]);
      set(url, text);
    } catch (error) {
      note.textContent = error.message;
      note.classList.add("error");
    }
  }

  image.addEventListener("error", () => {
    if (!image.hasAttribute("src")) return;
    isShown(false);
    note.textContent = "Your browser cannot show this image; Miles will try anyway.";
  });
  address.addEventListener("change", () => {
    const id = videoIdOf(address.value);
    if (id) address.value = thumbnailOf(id);
    if (address.value.trim()) picture = "";
    note.textContent = "";
    show();
    onchange();
  });
  file.addEventListener("change", () => { take([...file.files]); file.value = ""; });
  element.addEventListener("paste", (event) => {
    if (filesIn(event.clipboardData).length) { event.preventDefault(); event.stopPropagation(); take(filesIn(event.clipboardData)); }
  });
  element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    take(filesIn(event.dataTransfer));
  });
  return {
    element, set, take, input: address,
    note: () => note.textContent,
    fail(sentence) { note.textContent = sentence; note.classList.add("error"); },
    get value() { return value(); },
  };
}
