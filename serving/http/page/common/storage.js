// What stays in this browser between visits. Never a key: the API reference shares this origin's storage.

/** The stored value, or `otherwise`: a frame of another origin may have no storage, and other scripts may have written to it. */
export function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`miles-${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Whether the value was stored: storage may be full or switched off. */
export function save(name, value) {
  try {
    localStorage.setItem(`miles-${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
