// YouTube's addresses, and what is known of the video behind one.
import { Problem, lookUp } from "../common/api.js";

// As in preprocessing/thumbnails/youtube.py.
const HOST = /^((www|m|music|gaming|studio)\.)?youtube\.com$|^youtube\.googleapis\.com$|^(www\.)?(youtube-nocookie\.com|youtubekids\.com|youtu\.be)$/;
const PATH = /^\/(?:shorts|embed|live|watch|v|e|video)\/([\w-]{11})(?:\/.*)?$/;
const ID = /^[\w-]{11}$/;

/** The video id in a YouTube address, or null if the text is not one. A missing scheme is added, as browsers do. */
export function videoIdOf(text) {
  let url;
  try {
    url = new URL(/^https?:\/\//i.test(text.trim()) ? text.trim() : `https://${text.trim()}`);
  } catch {
    return null;
  }
  if (!HOST.test(url.hostname)) return null;
  const id = url.hostname.endsWith("youtu.be") ? url.pathname.split("/")[1]
    : url.pathname.replace(/\/$/, "") === "/watch" ? url.searchParams.get("v")
      : PATH.exec(url.pathname)?.[1];
  return ID.test(id ?? "") ? id : null;
}

/** The same for a text that contains the address, such as one that an app shares. */
export const sharedIdOf = (text) => videoIdOf(text) ?? videoIdOf(/https?:\/\/\S+/i.exec(text)?.[0] ?? "");

/** The address of a video's picture, which every video has. */
export const thumbnailOf = (id) => `https://i.ytimg.com/vi/${id}/hqdefault.jpg`;

/** `{fields, note}`: the video as a request if the service has a key for YouTube, and a sentence for the user. */
export async function knownOf(id) {
  try {
    const { thumbnail_url: picture, observed_at: when, ...fields } = await lookUp(id);
    const hidden = ["view_count", "like_count", "comment_count"].filter((name) => fields[name] === null);
    return { fields, note: hidden.length ? "Filled in from YouTube; the counts that it hides are left blank." : "Filled in from YouTube." };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.type.endsWith("no-youtube-key")) {
      return { fields: null, note: "The thumbnail is filled in. Type the rest: this service has no key for YouTube, so it cannot look up titles and counts." };
    }
    return { fields: null, note: `The thumbnail is filled in; type the rest. ${problem.message}`, kind: problem.kind };
  }
}
