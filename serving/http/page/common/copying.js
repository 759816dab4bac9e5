// Copies to the clipboard, even in frames that may not use the Clipboard API.
import { announce, el } from "./dom.js";

/** A button that copies `text` and confirms it. */
export function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", class: "plain copy" }, label);
  button.addEventListener("click", async () => {
    const copied = await copy(text);
    button.textContent = copied ? "Copied" : "Copying is not allowed";
    announce(button.textContent);
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // no permission or no secure context: execCommand needs neither
    const box = el("textarea", { class: "visually-hidden", readonly: true, "aria-hidden": "true" });
    box.value = text;
    document.body.append(box);
    const before = document.activeElement;
    box.select();
    const copied = document.execCommand("copy");
    box.remove();
    before?.focus();
    return copied;
  }
}
