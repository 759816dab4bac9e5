// Images from disk, shrunk in the browser so that requests stay small.
const MAX_SIDE = 640;
const QUALITY = 0.85;

/** A file as `{url, note}`: a JPEG data: URL and its size. Throws an Error with a sentence for the user. */
export async function fromFile(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read. Use JPEG, PNG or WebP.`);
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const url = drawn(width, height, (context) => {
    context.fillStyle = "#fff"; // JPEG has no transparency
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
  });
  const size = `${width} \u00d7 ${height}`;
  bitmap.close();
  return { url, note: `${file.name}, sent as ${size}, ${Math.ceil(url.length / 1000)} kB` };
}

/** The drawing of `draw` as a JPEG data: URL. */
export function drawn(width, height, draw) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  draw(canvas.getContext("2d"));
  return canvas.toDataURL("image/jpeg", QUALITY);
}

/** The files that were dropped or pasted. */
export const filesIn = (transfer) => [...(transfer?.files ?? [])];
