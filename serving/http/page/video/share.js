// A link to the form as it is filled in. It is in the address's # part, which browsers don't send.
const NAME = "#video=";
const MAX_LENGTH = 16_000; // characters of a link; longer ones do not survive chats

/** The address of this page with a request in it, without a picture from disk. */
export function linkOf(request) {
  const { thumbnail_url: picture = "", ...rest } = request;
  const fields = picture.startsWith("data:") || !picture ? rest : { ...rest, thumbnail_url: picture };
  const bytes = new TextEncoder().encode(JSON.stringify(fields));
  const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `${document.baseURI.split("#")[0]}${NAME}${text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

/** The fields in a link's # part, texts and numbers only; null if there are none. Anyone may have made the link. */
export function fromLink(hash) {
  if (!hash.startsWith(NAME) || hash.length > MAX_LENGTH) return null;
  try {
    const text = atob(hash.slice(NAME.length).replaceAll("-", "+").replaceAll("_", "/"));
    const fields = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    const plain = Object.entries(fields ?? {}).filter(([, value]) => ["string", "number"].includes(typeof value));
    return plain.length ? Object.fromEntries(plain) : null;
  } catch {
    return null;
  }
}
