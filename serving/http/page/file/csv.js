// CSV text to rows and back (RFC 4180), with the delimiters that spreadsheets use.
const DELIMITERS = [",", ";", "\t"];

/** Whether bytes are not text: a picture, a workbook, an archive. */
export const isBinary = (bytes) => !(bytes[0] >= 0xfe && bytes[1] >= 0xfe) && bytes.subarray(0, 1000).includes(0);

/** The text of a CSV's bytes: UTF-8, UTF-16 with a byte order mark, else Windows-1252, as older spreadsheets write. */
export function decoded(bytes) {
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (first === 0xfe && second === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/**
 * `{header, rows}`, lists of cells; blank lines are left out. The delimiter is the header's most frequent one.
 * Throws an Error with a sentence for the user where a quote is never closed.
 */
export function parse(text) {
  const plain = text.replace(/^\ufeff/, "");
  const line = plain.slice(0, plain.search(/[\r\n]|$/));
  const [delimiter] = [...DELIMITERS].sort((one, other) => line.split(other).length - line.split(one).length);
  const lines = [];
  let [cells, cell, isQuoted] = [[], "", false];
  const endCell = () => { cells.push(cell); cell = ""; };
  const endLine = () => { endCell(); if (cells.some((each) => each.trim())) lines.push(cells); cells = []; };
  for (let at = 0; at < plain.length; at += 1) {
    const letter = plain[at];
    if (isQuoted) {
      if (letter !== '"') cell += letter;
      else if (plain[at + 1] === '"') { cell += '"'; at += 1; }
      else isQuoted = false;
    } else if (letter === '"' && !cell) isQuoted = true;
    else if (letter === delimiter) endCell();
    else if (letter === "\n" || (letter === "\r" && plain[at + 1] !== "\n")) endLine();
    else if (letter !== "\r") cell += letter;
  }
  if (isQuoted) throw new Error("A quote is opened and never closed.");
  endLine();
  const [header = [], ...rows] = lines;
  return { header: header.map((name) => name.trim()), rows };
}

/** CSV text, with the byte order mark that tells spreadsheets it is UTF-8. */
export function formatted(lines) {
  return `\ufeff${lines.map((cells) => cells.map(quoted).join(",")).join("\r\n")}\r\n`;
}

function quoted(value) {
  const text = String(value ?? "");
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
