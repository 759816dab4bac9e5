// Waits until the model is ready, with a banner while it is not.
import { byId, el } from "./common/dom.js";
import { health } from "./common/api.js";
import { seconds } from "./common/words.js";

const EVERY_MS = 1000;
let waking = null;
let listeners = [];

/** Call `listener` with the health of the service whenever it becomes ready. */
export const onReady = (listener) => listeners.push(listener);

/** Resolves when the service is ready; polls until then. */
export function untilReady() {
  waking ??= wake().finally(() => { waking = null; });
  return waking;
}

async function wake() {
  const banner = byId("waking");
  const since = Date.now();
  for (;;) {
    const state = await health();
    if (state.ready) {
      banner.hidden = true;
      banner.replaceChildren();
      listeners.forEach((listener) => listener(state));
      return state;
    }
    show(banner, state, Math.round((Date.now() - since) / 1000));
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

function show(banner, { reached, status }, waited) {
  const failed = reached && status !== "loading";
  const [title, sentence] = !reached
    ? ["Miles cannot be reached.", "It may be starting, or you may be offline. Retrying automatically."]
    : failed
      ? ["Miles has no model at the moment.", `Status: ${status}. Retrying automatically.`]
      : ["Miles is waking up.", "The model is loading. You can fill in the form in the meantime; this message disappears by itself."];
  banner.classList.toggle("bad", failed);
  if (banner.dataset.title !== title || banner.hidden) { // screen readers read out only what is new
    banner.dataset.title = title;
    banner.replaceChildren(
      el("span", { class: failed ? "mark" : "spinner", "aria-hidden": "true" }, failed ? "!" : ""),
      el("p", {}, el("strong", {}, title), " ", sentence),
      el("p", { class: "waited", "aria-hidden": "true" }),
    );
    banner.hidden = false;
  }
  banner.querySelector(".waited").textContent = waited ? seconds(waited) : "";
}
