// Tabs as in the WAI-ARIA Authoring Practices: the arrow keys move, and moving selects.
import { byId } from "./common/dom.js";

/** Make the elements of these ids tabs; `onOpen(id)` is called with the one that was chosen. Returns `choose(id)`. */
export function installTabs(ids, onOpen) {
  const tabs = ids.map(byId);
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
    onOpen(chosen.id);
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key: pressed }) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1 }[pressed];
      if (to === undefined) return;
      const next = tabs.at(to % tabs.length); // -1 is the last tab
      next.focus();
      choose(next);
    });
  });
  return (id) => choose(byId(id));
}
