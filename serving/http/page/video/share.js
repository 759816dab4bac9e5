// A link to the form as it is filled in. It is in the address's # part, which browsers don't send.
const NAME = "#video=";
const MAX_LENGTH = 16_000; // characters of a link; longer ones do not survive chats

/** `{link, without}`: this page's address with a request in it, and what had to be left out: a file, long texts. */
export function linkOf(request) {
  const without = [];
  const fields = { ...request };
  const leave = (field, name) => { delete fields[field]; without.push(name); };
  if (fields.thumbnail_url?.startsWith("data:")) leave("thumbnail_url", "the picture");
  for (const [field, name] of [["description", "the description"], ["thumbnail_url", "the thumbnail's URL"], ["title", "the title"]]) {
    if (hashOf(fields).length > MAX_LENGTH && fields[field]) leave(field, name);
  }
  return { link: document.baseURI.split("#")[0] + hashOf(fields), without };
}

function hashOf(fields) {
  const bytes = new TextEncoder().encode(JSON.stringify(fields));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `${NAME}${text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** Whether the # part is meant to be a video. */
export const isLink = (hash) => hash.startsWith(NAME);

/** The fields in a link's # part, texts and numbers only; null if there are none. Anyone may have made the link. */
export function fromLink(hash) {
  if (!isLink(hash) || hash.length > MAX_LENGTH) return null;
  try {
    const text = atob(hash.slice(NAME.length).replaceAll("-", "+").replaceAll("_", "/"));
    const fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    const plain = Object.entries(fields ?? {}).filter(([, value]) => ["string", "number"].includes(typeof value));
    return plain.length ? Object.fromEntries(plain) : null;
  } catch {
    return null;
  }
}
