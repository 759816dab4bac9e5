// A request as the command that a shell would send it with.
const SHELL_ARGUMENT = 100_000; // Linux takes 131,072 bytes in one argument
const SHOWN = 48;

/** `text` runs as it is; `shown` is the same with long pictures left out, and says how much. */
export function curlOf(request, url, withKey) {
  return { text: command(request, url, withKey), shown: command(shortened(request), url, withKey) };
}

function command(request, url, withKey) {
  const json = JSON.stringify(request, null, 2);
  const head = [`curl ${quoted(url)}`, "-H 'Content-Type: application/json'"];
  if (withKey) head.push('-H "Authorization: Bearer $MILES_API_KEY"');
  if (new TextEncoder().encode(json).length > SHELL_ARGUMENT) {
    return `${[...head, "--data-binary @- <<'JSON'"].join(" \\\n  ")}\n${json}\nJSON`;
  }
  return [...head, `-d ${quoted(json)}`].join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function shortened(request) {
  const picture = request.thumbnail_url ?? "";
  if (!picture.startsWith("data:") || picture.length <= 2 * SHOWN) return request;
  const left = (picture.length - SHOWN).toLocaleString("en");
  return { ...request, thumbnail_url: `${picture.slice(0, SHOWN)}\u2026 (${left} more characters, which are copied)` };
}
