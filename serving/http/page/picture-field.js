// The thumbnail field: a URL, or an image dropped, pasted or chosen from disk, with a preview.
import { el } from "./dom.js";
import { filesIn, fromFile } from "./pictures.js";

let fields = 0;

/** `{element, get value, set(url, note), onchange}`; `name` is the form name of the URL input. */
export function pictureField({ name = null, label = "Thumbnail", onchange = () => {} } = {}) {
  fields += 1;
  const id = `picture-${fields}`;
  let picture = ""; // from disk or an example; a typed URL replaces it
  const image = el("img", { alt: "", hidden: true, referrerpolicy: "no-referrer", decoding: "async" });
  const empty = el("span", { class: "empty" }, "Drop an image here");
  const address = el("input", {
    id, name, type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", "aria-describedby": `${id}-note`,
  });
  const file = el("input", { type: "file", accept: "image/*", class: "visually-hidden" });
  const note = el("p", { id: `${id}-note`, class: "hint note", "aria-live": "polite" });
  const remove = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => { set(""); address.focus(); } }, "Remove");
  const element = el("div", { class: "picture" },
    el("div", { class: "drop" }, image, empty),
    el("div", { class: "picture-inputs" },
      el("label", { for: id }, label, " ", el("span", { class: "optional" }, "URL or file, optional")),
      address,
      el("div", { class: "row" }, el("label", { class: "button plain" }, file, "Choose a file"), remove),
      note));

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

  function set(url, text = "") {
    const typed = !url.startsWith("data:");
    address.value = typed ? url : "";
    picture = typed ? "" : url;
    note.textContent = text;
    note.classList.remove("error");
    show();
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
    if (address.value.trim()) picture = "";
    note.textContent = "";
    show();
    onchange();
  });
  file.addEventListener("change", () => { take([...file.files]); file.value = ""; });
  element.addEventListener("paste", (event) => {
    if (filesIn(event.clipboardData).length) { event.preventDefault(); take(filesIn(event.clipboardData)); }
  });
  element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("over");
    take(filesIn(event.dataTransfer));
  });
  return { element, set, take, note: () => note.textContent, get value() { return value(); } };
}
