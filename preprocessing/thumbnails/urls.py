"""Vets the text of a thumbnail URL before anything is looked up or dialled.

What every browser repairs the same way is repaired: outer white space, a space or `..` in the path, a missing
scheme before //, a host outside ASCII, `&amp;`. Two parsers that read one text differently are how requests
get smuggled to a private host, so any other oddity (a backslash, `0x7f.1`) is refused, and what is requested
is rebuilt from the parts that were vetted.
"""

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from preprocessing.image import BadUrlError
from preprocessing.thumbnails.policy import (
    WEB_PORTS,
    Address,
    ForbiddenUrlError,
    ThumbnailPolicy,
    UnreachableError,
    vet_endpoint,
)
from preprocessing.thumbnails.youtube import picture_of_page

MAX_URL_LENGTH = 8192
MAX_NAME_LENGTH = 253
DEFAULT_PORTS = {"http": 80, "https": 443}
# Names of hosts nearby, which serve no public thumbnails. A single label is one of them too.
LOCAL_SUFFIXES = (".localhost", ".local", ".localdomain", ".internal", ".home.arpa")
# Names of other networks, which must not reach the DNS (RFC 7686).
OVERLAY_SUFFIXES = (".onion", ".i2p")

# Including what copied text brings along: no-break and zero-width spaces, byte order marks.
WHITE_SPACE = " \t\n\r\f\v\u00a0\u200b\ufeff"
# Control characters, backslashes, and lone surrogates, which have no UTF-8 form, or the character that has
# replaced them.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\ufffd]")
_SCHEME = re.compile(r"[a-z][a-z0-9+-]*", re.IGNORECASE | re.ASCII)
_AMPERSAND = re.compile(r"&(?:amp;|#38;|#x26;)+", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[^/?#]*:")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(?::([1-9][0-9]{0,4}))?", re.IGNORECASE)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# RFC 3986's characters for path and query, in addition to -._~; other characters are percent-encoded.
_KEPT = "!$%&'()*+,/:;=?@[]"


@dataclass(frozen=True, slots=True)
class VettedUrl:
    """A URL in the parts that were vetted; `literal` is the host where it is an address, not a name."""

    scheme: str
    host: str
    port: int
    target: str
    literal: Address | None
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Sentences about repairs that the caller should know of."""

    @property
    def authority(self) -> str:
        """The Host header: brackets around IPv6, the port where it is not the scheme's own."""
        host = f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def vet_url(url: str, policy: ThumbnailPolicy) -> VettedUrl:
    """The parts of an http(s) URL that may be requested, judging by its text; a name is not resolved.

    The page of a YouTube video is read as its picture's URL. Raises `BadUrlError` for syntax and
    `ForbiddenUrlError` for a scheme, user, host or port.
    """
    written = url.strip(WHITE_SPACE)
    _vet_characters(written)
    url = _AMPERSAND.sub("&", written)
    if url.startswith("//"):
        url = f"https:{url}"
    scheme = _vet_scheme(url)
    parts = _split(url)
    host, literal, port = _vet_authority(parts.netloc, DEFAULT_PORTS[scheme])
    target = _without_dots(parts.path) + (f"?{parts.query}" if parts.query else "")
    picture = picture_of_page(host, target)
    if picture is not None:
        note = f"thumbnail_url is a YouTube page; its picture {picture} was read."
        return replace(vet_url(picture, policy), notes=(note,))
    if not policy.allows_host(host):
        raise ForbiddenUrlError(f"{host} is not among the hosts that the policy allows")
    if literal is not None:
        vet_endpoint(literal, port, policy.trusted_networks)
    else:
        _vet_name(host, port, policy)
    notes = ("`&amp;` in thumbnail_url was read as `&`.",) if url != written and "?" in url else ()
    return VettedUrl(scheme, host, port, quote(target, safe=_KEPT), literal, notes)


def vet_redirect(current: VettedUrl, location: bytes, policy: ThumbnailPolicy) -> VettedUrl:
    """A redirect's target, vetted like any URL. Raises `UnreachableError`: the client's URL was fine."""
    try:
        text = location.decode("utf-8")
        _vet_characters(text)  # before joining, which would drop what must be refused
        target = vet_url(_absolute(current, text), policy)
    except UnicodeDecodeError as exc:
        raise UnreachableError(f"{current.host} redirects to a URL that is not UTF-8") from exc
    except (BadUrlError, ForbiddenUrlError, ValueError) as exc:
        raise UnreachableError(f"{current.host} redirects to a URL that is refused: {exc}") from exc
    if (current.scheme, target.scheme) == ("https", "http"):
        raise UnreachableError(f"{current.host} redirects from https to http")
    return target


def _absolute(current: VettedUrl, location: str) -> str:
    """A Location as a whole URL. `urljoin` is used for paths only, because it would repair a missing host."""
    if location.startswith("//"):
        return f"{current.scheme}:{location}"
    return location if _ABSOLUTE.match(location) else urljoin(str(current), location)


def _vet_characters(text: str) -> None:
    if len(text) > MAX_URL_LENGTH:
        raise BadUrlError(f"a URL of {len(text)} characters, the limit is {MAX_URL_LENGTH}")
    unsafe = _UNSAFE.search(text)
    if unsafe:
        raise BadUrlError(f"a URL with an unsafe character, {unsafe[0]!a}; percent-encode it")


def _vet_scheme(url: str) -> str:
    scheme, colon, rest = url.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise BadUrlError("a URL without a scheme; expected http://, https:// or data:image/...;base64,")
    if scheme.lower() not in DEFAULT_PORTS:
        raise ForbiddenUrlError("a scheme other than http and https")
    if not rest.startswith("//"):
        raise BadUrlError("no // after the scheme")
    return scheme.lower()


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as exc:  # unbalanced brackets, characters that normalise to a delimiter
        raise BadUrlError("a URL that does not parse") from exc


def _without_dots(path: str) -> str:
    """The path with `.` and `..` resolved (RFC 3986, 5.2.4), percent-encoded ones too, as browsers do."""
    kept: list[str] = []
    meaning = ""
    for segment in path.split("/")[1:]:
        meaning = segment.lower().replace("%2e", ".")
        if meaning == "..":
            del kept[-1:]
        elif meaning != ".":
            kept.append(segment)
    if meaning in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _vet_authority(authority: str, default_port: int) -> tuple[str, Address | None, int]:
    if " " in authority:
        raise BadUrlError("white space in the host")
    if "@" in authority:
        raise ForbiddenUrlError("a user or password before the host")
    if not authority.isascii():  # before lower-casing, which turns a Kelvin sign into a k
        authority = _to_ascii(authority)
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise BadUrlError("no host, or one that is neither a name nor an address, or an invalid port")
    port = int(match[2] or default_port)
    if port > 65535:
        raise BadUrlError(f"port {port}, the highest is 65535")
    literal = _literal(match[1].lower())
    host = _vet_labels(match[1].lower()) if literal is None else str(literal)
    return host, literal, port


def _to_ascii(authority: str) -> str:
    """An internationalised host in punycode.

    Each label that is not ASCII must become an xn-- label: a full-width digit or a circled letter that turns
    into plain ASCII spells a host that a person does not see.
    """
    host, colon, port = authority.partition(":")
    labels = [label if label.isascii() else _punycode(label) for label in host.split(".")]
    if not port.isascii():
        raise BadUrlError("an invalid port")
    return ".".join(labels) + colon + port


def _punycode(label: str) -> str:
    try:
        encoded = idna.encode(label, uts46=True).decode("ascii")
    except UnicodeError as exc:
        raise BadUrlError("a host outside ASCII that is not a valid international name") from exc
    if "." in encoded or not encoded.startswith("xn--"):
        raise BadUrlError("a host outside ASCII that is not a valid international name")
    return encoded


def _literal(host: str) -> Address | None:
    """The address that a host spells; a host that ends in a number is an address or invalid."""
    last = host.removesuffix(".").rpartition(".")[2]
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1])
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
            return IPv4Address(host)
    except ValueError as exc:
        raise BadUrlError("a numeric host that is not a canonical IP address") from exc
    return None


def _vet_labels(host: str) -> str:
    name = host.removesuffix(".")
    if len(name) > MAX_NAME_LENGTH or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadUrlError("an invalid host name")
    return name


def _vet_name(host: str, port: int, policy: ThumbnailPolicy) -> None:
    if f".{host}".endswith(OVERLAY_SUFFIXES):
        raise ForbiddenUrlError(f"{host} is not a name of the public internet")
    if policy.trusted_networks:
        return  # its addresses decide, and they are vetted with the port when it is dialled
    if "." not in host or host.endswith(LOCAL_SUFFIXES):
        raise ForbiddenUrlError(f"{host} names a host of the local network")
    if port not in WEB_PORTS:
        raise ForbiddenUrlError(
            f"port {port} of {host} is not allowed; outside trusted networks only 80 and 443 are"
        )
