// Creates elements without HTML strings: what a user or a server wrote stays text.
const SVG = document.createElementNS.bind(document, "http://www.w3.org/2000/svg");

export const byId = (id) => document.getElementById(id);

/** An element; `properties` are attributes, except `class` and those that begin with `on`. False and null are left out. */
export function el(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  return dress(SVG(tag), properties, children);
}

/** Announce a sentence to screen readers. */
export function announce(sentence) {
  byId("announce").textContent = sentence;
}

function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
