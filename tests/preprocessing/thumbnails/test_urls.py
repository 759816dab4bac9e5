"""URLs that strangers write: what each is refused for, and what is requested of those that pass."""

import base64
import re
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preprocessing.thumbnails.addresses import vet_endpoint
from preprocessing.thumbnails.policy import (
    BadUrlError,
    ForbiddenUrlError,
    ThumbnailPolicy,
    ThumbnailTooLargeError,
    UnreachableError,
)
from preprocessing.thumbnails.urls import VettedUrl, decode_data_url, is_data_url, vet_redirect, vet_url
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN

OPEN = ThumbnailPolicy()
LOOPBACK = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))
# Names of no local network, although they end like one.
ALMOST_LOCAL = ["notlocalhost", "my.xlocal", "xlocaldomain", "xinternal", "xhome.arpa", "xonion", "xi2p"]
LONGEST_NAME = ".".join(["a" * 63] * 3 + ["b" * 61])

PASSING = [
    ("http://example.com", "http", "example.com", 80, "/"),
    ("HTTP://EXAMPLE.COM/A.JPG", "http", "example.com", 80, "/A.JPG"),
    ("https://i.ytimg.com/vi/dQw4w9WgXcQ/hq720.jpg?sqp=-oay&rs=AOn4", "https", "i.ytimg.com", 443,
     "/vi/dQw4w9WgXcQ/hq720.jpg?sqp=-oay&rs=AOn4"),
    ("https://example.com./a.jpg#top", "https", "example.com", 443, "/a.jpg"),
    ("http://exa_mple.com/", "http", "exa_mple.com", 80, "/"),
    ("http://r1---sn-4g5e6nsz.example.com/", "http", "r1---sn-4g5e6nsz.example.com", 80, "/"),
    ("http://example.com:443/", "http", "example.com", 443, "/"),
    ("https://example.com?x=1", "https", "example.com", 443, "/?x=1"),
    ("https://example.com/tö日.jpg", "https", "example.com", 443, "/t%C3%B6%E6%97%A5.jpg"),
    ("https://example.com/a%20b%00%0d%0a.jpg", "https", "example.com", 443, "/a%20b%00%0d%0a.jpg"),
    ("https://example.com/a\"<>^`{|}.jpg", "https", "example.com", 443, "/a%22%3C%3E%5E%60%7B%7C%7D.jpg"),
    ("https://example.com/@user:pass/../a", "https", "example.com", 443, "/@user:pass/../a"),
    ("http://1.1.1.1/", "http", "1.1.1.1", 80, "/"),
    ("http://[2606:4700:4700:0::1111]/", "http", "2606:4700:4700::1111", 80, "/"),
    ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/"),
    ("http://1.1.1.1.nip.io/", "http", "1.1.1.1.nip.io", 80, "/"),
    ("http://" + "a" * 63 + ".com/", "http", "a" * 63 + ".com", 80, "/"),
    ("http://example.com/!$%&'()*+,-./:;=?@_~[]", "http", "example.com", 80, "/!$%&'()*+,-./:;=?@_~[]"),
    *[(f"http://a.{name}/", "http", f"a.{name}", 80, "/") for name in ALMOST_LOCAL],
    ("http://" + LONGEST_NAME + "/", "http", LONGEST_NAME, 80, "/"),
    ("http://" + LONGEST_NAME + "./", "http", LONGEST_NAME, 80, "/"),
    ("http://example.com/" + "a" * 2029, "http", "example.com", 80, "/" + "a" * 2029),
]  # fmt: skip

BAD_DATA = [
    "data:", "data:,", "data:,hello", "data:text/html;base64,aGk=", "data:image/png,hello",
    "data:image/png;base64",
    "data:image/png;base64,", "data:image/png;base64,====", "data:image/png;base64,aGk",
    "data:image/png;base64,a",
    "data:image/png;base64,aGk=\n", "data:image/png;base64, aGk=", "data:image/png;base64,aG k=",
    "data:image/png;base64,aGk=aGk=", "data:image/png;base64,_-_-", "data:image/png;base64,aGk%3D",
    "data:image/png;base64,日本語字", "data:image/png;base64,\ud800aaa", "data:image/;base64,aGk=",
    "data:image/png;charset=utf-8;base64,aGk=", "data:image/svg+xml;utf8,<svg/>", "data:;base64,aGk=",
    "data://image/png;base64,aGk=", "data:image/png;base64;base64,aGk=", "DATA:text/plain,hello",
    "data:\u0131mage/png;base64,aGk=",
]  # fmt: skip


@pytest.mark.parametrize(("url", "scheme", "host", "port", "target"), PASSING)
def test_plain_urls_pass(url: str, scheme: str, host: str, port: int, target: str) -> None:
    """An ordinary URL is taken apart; what RFC 3986 has no room for is percent-encoded in its path alone."""
    vetted = vet_url(url, OPEN)
    assert (vetted.scheme, vetted.host, vetted.port, vetted.target) == (scheme, host, port, target)


@pytest.mark.parametrize("url", [url for url, *_ in PASSING])
def test_what_passed_passes_again(url: str) -> None:
    """A vetted URL, written out, is the same URL: no second reading differs from the first."""
    vetted = vet_url(url, OPEN)
    if len(str(vetted)) <= 2048:
        assert vet_url(str(vetted), OPEN) == vetted


@pytest.mark.parametrize("policy", [OPEN, LOOPBACK], ids=["open", "loopback trusted"])
@pytest.mark.parametrize("url", BAD, ids=lambda url: ascii(url)[:60])
def test_bad_urls_are_refused(url: str, policy: ThumbnailPolicy) -> None:
    """A text that two parsers could read differently, or that is no URL, is a bad URL under any policy."""
    with pytest.raises(BadUrlError):
        vet_url(url, policy)


@pytest.mark.parametrize("url", FORBIDDEN, ids=lambda url: ascii(url)[:60])
def test_forbidden_urls_are_refused(url: str) -> None:
    """A scheme, user, host or port that is never asked is forbidden as written."""
    with pytest.raises(ForbiddenUrlError):
        vet_url(url, OPEN)


@pytest.mark.parametrize("url", [*BAD, *FORBIDDEN], ids=lambda url: ascii(url)[:60])
def test_errors_hold_no_url(url: str) -> None:
    """An error's text, which is logged, holds no path, user or whole URL, and nothing that forges a line."""
    with pytest.raises((BadUrlError, ForbiddenUrlError)) as caught:
        vet_url(url, OPEN)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 400
    assert len(url) < 8 or url not in text
    assert not any(part in text for part in ("passwd", "pass@", "INFO", "meta-data"))


def test_trusted_networks_open_ports_and_local_names() -> None:
    """Within a trusted network any port may be asked,
    and names are left to the vetting of their addresses."""
    assert vet_url("http://127.0.0.1:8080/", LOOPBACK).port == 8080
    assert vet_url("http://minio:9000/", LOOPBACK).host == "minio"
    for url in ("http://10.0.0.1/", "http://1.1.1.1:8080/", "http://[::1]/", "http://abc.onion/"):
        with pytest.raises(ForbiddenUrlError):
            vet_url(url, LOOPBACK)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://i.ytimg.com/a", True),
        ("https://I.YTIMG.COM./a", True),
        ("https://x.i.ytimg.com/a", False),
        ("https://cdn.example.org/a", True),
        ("https://a.b.example.org/a", True),
        ("https://example.org/a", False),
        ("https://evilexample.org/a", False),
        ("https://example.org.evil.com/a", False),
        ("http://1.1.1.1/", False),
    ],
)
def test_allowed_hosts(url: str, allowed: bool) -> None:
    """With an allow-list, a host is named exactly or lies below a suffix, and all others are forbidden."""
    policy = ThumbnailPolicy(allowed_hosts=("i.ytimg.com", ".example.org"))
    if allowed:
        vet_url(url, policy)
    else:
        with pytest.raises(ForbiddenUrlError, match="not among the hosts"):
            vet_url(url, policy)


def test_refused_hosts() -> None:
    """A host that the operator refuses, such as the service's own, is forbidden even where it is allowed."""
    policy = ThumbnailPolicy(allowed_hosts=(".hf.space",), refused_hosts=("miles.hf.space",))
    vet_url("https://other.hf.space/", policy)
    with pytest.raises(ForbiddenUrlError):
        vet_url("https://MILES.hf.space./", policy)


@pytest.mark.parametrize("own", ["miles.hf.space", "Miles.hf.space.", "MILES.HF.SPACE"])
def test_the_services_own_host_is_refused(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the name that Hugging Face gives it, the service does not fetch from itself."""
    monkeypatch.setenv("SPACE_HOST", own)
    with pytest.raises(ForbiddenUrlError):
        vet_url("https://miles.hf.space/a.jpg", ThumbnailPolicy())
    vet_url("https://other.hf.space/a.jpg", ThumbnailPolicy())


@pytest.mark.parametrize("own", ["", "localhost:7860", "https://miles.hf.space", ".", " "])
def test_an_own_host_that_is_no_host_is_nobody(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SPACE_HOST that no URL can name refuses no URL, and does not keep the service from starting."""
    monkeypatch.setenv("SPACE_HOST", own)
    assert ThumbnailPolicy().refused_hosts == ()


@pytest.mark.parametrize(
    "pattern", ["*.ytimg.com", "https://i.ytimg.com", "I.YTIMG.COM", "", ".", "a b", "a.com/"]
)
def test_unusable_host_patterns_are_refused(pattern: str) -> None:
    """A pattern that could never match is the operator's mistake, and the error shows how it is written."""
    with pytest.raises(ValueError, match=r"'\.ytimg\.com'"):
        ThumbnailPolicy(allowed_hosts=(pattern,))


@pytest.mark.parametrize("limit", ["timeout_s", "max_bytes", "max_connections"])
def test_unusable_limits_are_refused(limit: str) -> None:
    """A limit of nothing is the operator's mistake."""
    with pytest.raises(ValueError, match=f"{limit} is 0"):
        replace(OPEN, **{limit: 0})


def test_the_host_header_keeps_port_and_brackets() -> None:
    """The authority carries a port that is not the scheme's own, and brackets around IPv6."""
    assert vet_url("http://[2606:4700::1]/", OPEN).authority == "[2606:4700::1]"
    assert vet_url("http://example.com:443/", OPEN).authority == "example.com:443"
    assert vet_url("https://example.com:443/", OPEN).authority == "example.com"


REDIRECTS = [
    (b"/b.jpg", "https://example.com/b.jpg"),
    (b"b.jpg", "https://example.com/dir/b.jpg"),
    (b"?q", "https://example.com/dir/a.jpg?q"),
    (b"//cdn.example.com/b", "https://cdn.example.com/b"),
    (b"https://cdn.example.com/b", "https://cdn.example.com/b"),
    (b"/a:b.jpg", "https://example.com/a:b.jpg"),
    (b"#a:b", "https://example.com/dir/a.jpg"),
    (b"?a:b", "https://example.com/dir/a.jpg?a:b"),
    (b"../b.jpg", "https://example.com/b.jpg"),
    (b"", "https://example.com/dir/a.jpg"),
]
REFUSED_REDIRECTS = [
    b"http://example.com/b", b"//169.254.169.254/", b"https://[::1]/", b"https://user:p@127.0.0.1/",
    b"https://e.com:6379/",
    b"file:///etc/passwd", b"data:image/png;base64,aGk=", b"gopher://127.0.0.1/", b"https://localhost/",
    b"\\\\1.1.1.1\\a",
    b"/a\r\nX: y", b"/a\x00", b"/a b", "/ü".encode(), b"\xff", b"/" + b"a" * 70_000, b"https://[",
    b"ht\ttps://127.0.0.1/", b"https://0x7f.1/",
    b"https:///b.jpg", b"https:b.jpg", b"https:/1.1.1.1/", b"///1.1.1.1/", b"//", b":", b"a:b.jpg", b"1:b",
    b"/a\tb.jpg", b"\x0b/b.jpg", b"/b.jpg\n",
]  # fmt: skip


@pytest.mark.parametrize(("location", "target"), REDIRECTS)
def test_redirects_are_resolved(location: bytes, target: str) -> None:
    """A relative Location is read against the URL that was asked."""
    assert str(vet_redirect(vet_url("https://example.com/dir/a.jpg", OPEN), location, OPEN)) == target


@pytest.mark.parametrize("location", REFUSED_REDIRECTS, ids=lambda location: ascii(location)[:50])
def test_redirects_are_vetted(location: bytes) -> None:
    """A Location that would be refused as a URL, or that leaves https, makes the thumbnail unreachable."""
    with pytest.raises(UnreachableError, match=r"^example\.com redirects"):
        vet_redirect(vet_url("https://example.com/dir/a.jpg", OPEN), location, OPEN)


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64,",
        "DATA:IMAGE/JPEG;BASE64,",
        "data:image/svg+xml;base64,",
        "data:image/a0.b-c+5;base64,",
    ],
)
def test_data_urls_are_decoded(head: str) -> None:
    """The image of a data: URL is its base64 payload, whatever kind of image it claims to be."""
    assert decode_data_url(head + "aGk=", 100) == b"hi"


def test_data_urls_are_told_from_others() -> None:
    """What begins with `data:`, in any case, is one, and nothing else is."""
    assert all(is_data_url(url) for url in ("data:", "DATA:,", "data:image/png;base64,aGk="))
    assert not any(is_data_url(url) for url in ("", "data", "http://data:80/", "dat:a", "xdata:", " data:"))


@pytest.mark.parametrize("url", BAD_DATA, ids=lambda url: ascii(url)[:60])
def test_other_data_urls_are_bad(url: str) -> None:
    """Anything else after data: is a bad URL."""
    with pytest.raises(BadUrlError):
        decode_data_url(url, 100)


@pytest.mark.parametrize("size", range(1, 10))
def test_data_urls_are_taken_up_to_the_cap(size: int) -> None:
    """As many bytes as the cap are taken and one more is too large, whatever the padding."""
    url = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
    assert decode_data_url(url, size) == bytes(size)
    with pytest.raises(ThumbnailTooLargeError):
        decode_data_url(url, size - 1)


@pytest.mark.parametrize(
    ("characters", "cap", "error"),
    [
        (136, 99, ThumbnailTooLargeError),
        (136, 100, BadUrlError),
        (139, 100, BadUrlError),
        (140, 100, ThumbnailTooLargeError),
    ],
)
def test_what_is_too_long_is_not_decoded(characters: int, cap: int, error: type[Exception]) -> None:
    """A payload that can only be beyond the cap is too large, whatever it holds: it is not looked at."""
    with pytest.raises(error):
        decode_data_url("data:image/png;base64," + "!" * characters, cap)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_refused_by_name(text: str) -> None:
    """Any text at all is a vetted URL or one of our errors."""
    with pytest.raises((BadUrlError, ForbiddenUrlError)):
        vet_url(text, OPEN)


hosts = st.text(st.sampled_from("0127.xXaAfF:[]@%\\/?#-_。①é "), max_size=25)


@given(
    st.sampled_from(["http://", "https://", "http:", "HtTp://"]),
    hosts,
    st.sampled_from(["", "/", ":80", "?a", "#@1"]),
)
@example("http://", "127.0.0.1", "#@1")
def test_what_passes_is_public_and_reads_the_same_again(scheme: str, host: str, tail: str) -> None:
    """Whatever host gets through is a public address or a plain name, and writing it out changes nothing."""
    try:
        vetted = vet_url(scheme + host + tail, OPEN)
    except (BadUrlError, ForbiddenUrlError):
        return
    assert isinstance(vetted, VettedUrl)
    if vetted.literal is not None:
        vet_endpoint(vetted.literal, vetted.port)
    else:
        assert "." in vetted.host
        assert not re.fullmatch("[0-9]+|0x[0-9a-f]*", vetted.host.rpartition(".")[2])
    assert vet_url(str(vetted), OPEN) == vetted
