// A request as a curl command.
const SHELL_ARGUMENT = 100_000; // Linux allows 131,072 bytes per argument
const SHOWN = 48;

/** `text` is the complete command; `shown` abbreviates a long data: URL and says by how much. */
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
  return { ...request, thumbnail_url: `${picture.slice(0, SHOWN)}\u2026 (${left} more characters are copied)` };
}
