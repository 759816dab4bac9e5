// Copying to the clipboard, also in frames that may not use its newer interface.
import { announce, el } from "./dom.js";

/** A button that copies `text` and says so. */
export function copyButton(text) {
  const button = el("button", { type: "button", class: "plain copy" }, "Copy");
  button.addEventListener("click", async () => {
    const copied = await copy(text);
    button.textContent = copied ? "Copied" : "Copying is not allowed here";
    announce(button.textContent);
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // no permission, or no secure context: the old way needs neither
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
