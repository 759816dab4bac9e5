"""Which URLs are refused and for what reason, and what is requested for those that pass."""

import re
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preprocessing.image import BadUrlError, ImageError
from preprocessing.thumbnails.policy import ForbiddenUrlError, ThumbnailPolicy, UnreachableError, vet_endpoint
from preprocessing.thumbnails.urls import VettedUrl, vet_redirect, vet_url
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN

OPEN = ThumbnailPolicy()
LOOPBACK = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))
# Names that end like those of a local network but are not.
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
    ("https://example.com/@user:pass/../a", "https", "example.com", 443, "/a"),
    ("https://example.com/a/./b/%2E%2e/../c.jpg?x=/../y", "https", "example.com", 443, "/c.jpg?x=/../y"),
    ("https://example.com/a/b/../c/.", "https", "example.com", 443, "/a/c/"),
    ("https://example.com/a/b/..", "https", "example.com", 443, "/a/"),
    ("https://example.com/a/..", "https", "example.com", 443, "/"),
    ("https://example.com/../../a/.%2e/.", "https", "example.com", 443, "/"),
    ("https://example.com/a/..//b...", "https", "example.com", 443, "//b..."),
    ("http://1.1.1.1/", "http", "1.1.1.1", 80, "/"),
    ("http://[2606:4700:4700:0::1111]/", "http", "2606:4700:4700::1111", 80, "/"),
    ("http://xn--bcher-kva.example/", "http", "xn--bcher-kva.example", 80, "/"),
    ("http://1.1.1.1.nip.io/", "http", "1.1.1.1.nip.io", 80, "/"),
    ("http://" + "a" * 63 + ".com/", "http", "a" * 63 + ".com", 80, "/"),
    ("http://example.com/!$%&'()*+,-./:;=?@_~[]", "http", "example.com", 80, "/!$%&'()*+,-./:;=?@_~[]"),
    *[(f"http://a.{name}/", "http", f"a.{name}", 80, "/") for name in ALMOST_LOCAL],
    ("http://" + LONGEST_NAME + "/", "http", LONGEST_NAME, 80, "/"),
    ("http://" + LONGEST_NAME + "./", "http", LONGEST_NAME, 80, "/"),
    ("http://example.com/" + "a" * 8173, "http", "example.com", 80, "/" + "a" * 8173),
    (" \t\f\vhttp://example.com/a.jpg\r\n", "http", "example.com", 80, "/a.jpg"),
    ("\u00a0\u200b\ufeffhttp://example.com/a.jpg\ufeff\u200b\u00a0", "http", "example.com", 80, "/a.jpg"),
    ("http://example.com/cafe\u0301.jpg", "http", "example.com", 80, "/cafe%CC%81.jpg"),
    ("http://example.com/a b.jpg?c d", "http", "example.com", 80, "/a%20b.jpg?c%20d"),
    ("//example.com/a.jpg", "https", "example.com", 443, "/a.jpg"),
    ("http://bücher.example:80/", "http", "xn--bcher-kva.example", 80, "/"),
    ("http://BÜCHER.日本.example/", "http", "xn--bcher-kva.xn--wgv71a.example", 80, "/"),
    ("http://example.com/?a=1&amp;b=2", "http", "example.com", 80, "/?a=1&b=2"),
    ("http://example.com/?a=1&#38;b=2&amp;amp;c=3&#x26;d", "http", "example.com", 80, "/?a=1&b=2&c=3&d"),
    ("https://www.youtube.com/watch?list=a&amp;v=dQw4w9WgXcQ", "https", "i.ytimg.com", 443,
     "/vi/dQw4w9WgXcQ/hqdefault.jpg"),
    ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=1", "https", "i.ytimg.com", 443,
     "/vi/dQw4w9WgXcQ/hqdefault.jpg"),
    ("http://youtube.com/watch?t=1", "http", "youtube.com", 80, "/watch?t=1"),
]  # fmt: skip


def refused(url: str, policy: ThumbnailPolicy = OPEN) -> ImageError | None:
    """The error for a URL, None if it passes."""
    try:
        vet_url(url, policy)
    except ImageError as exc:
        return exc
    return None


def test_plain_urls_pass() -> None:
    """Characters that RFC 3986 does not allow in a path are percent-encoded and dots are resolved."""
    failures = []
    for url, *parts in PASSING:
        vetted = vet_url(url, OPEN)
        if [vetted.scheme, vetted.host, vetted.port, vetted.target] != parts:
            failures.append(f"{url}: {vetted}")
    assert failures == []


def test_a_vetted_url_passes_unchanged() -> None:
    """A second reading never differs from the first."""
    written = {str(vetted): vetted for vetted in (vet_url(url, OPEN) for url, *_ in PASSING)}
    assert [url for url, vetted in written.items() if len(url) <= 8192 and vet_url(url, OPEN) != vetted] == []


def test_a_repair_that_may_surprise_is_noted() -> None:
    """White space and the like are repaired without a note."""
    picture = "https://i.ytimg.com/vi/dQw4w9WgXcQ/hqdefault.jpg"
    noted = {url: vet_url(url, OPEN).notes for url, *_ in PASSING}
    assert {url: notes for url, notes in noted.items() if notes} == {
        **dict.fromkeys(
            (url for url, *_ in PASSING if "/?a=1&" in url), ("`&amp;` in thumbnail_url was read as `&`.",)
        ),
        **dict.fromkeys(
            (url for url, *_ in PASSING if "v=dQw4w9WgXcQ" in url),
            (f"thumbnail_url is a YouTube page; its picture {picture} was read.",),
        ),
    }


def test_bad_urls_are_refused() -> None:
    """A text that two parsers could read differently, or that is not a URL, is bad under any policy."""
    policies = (OPEN, LOOPBACK)
    assert [url for url in BAD for each in policies if not isinstance(refused(url, each), BadUrlError)] == []


def test_forbidden_urls_are_refused() -> None:
    """A URL with a scheme, user, host or port that is never allowed is forbidden as written."""
    assert [url for url in FORBIDDEN if not isinstance(refused(url), ForbiddenUrlError)] == []


def test_errors_hold_no_url() -> None:
    """An error's text, which is logged, holds no path, user or whole URL and cannot forge a log line."""
    failures = []
    for url in (*BAD, *FORBIDDEN):
        text = str(refused(url))
        secrets = ("passwd", "pass@", "INFO", "meta-data", *([url] if len(url) >= 8 else []))
        holds = any(secret in text for secret in secrets)
        if holds or not text.isprintable() or len(text) >= 400:
            failures.append(f"{url!r}: {text!r}")
    assert failures == []


def test_trusted_networks_open_ports_and_local_names() -> None:
    """A trusted network may be contacted on any port; names are vetted by their addresses later."""
    assert vet_url("http://127.0.0.1:8080/", LOOPBACK).port == 8080
    assert vet_url("http://minio:9000/", LOOPBACK).host == "minio"
    for url in ("http://10.0.0.1/", "http://1.1.1.1:8080/", "http://[::1]/", "http://abc.onion/"):
        assert isinstance(refused(url, LOOPBACK), ForbiddenUrlError)


def test_allowed_hosts() -> None:
    """An allow-list holds whole hosts and suffixes; all other hosts are forbidden."""
    policy = ThumbnailPolicy(allowed_hosts=("i.ytimg.com", ".example.org"))
    allowed = ["i.ytimg.com", "I.YTIMG.COM.", "cdn.example.org", "a.b.example.org"]
    others = ["x.i.ytimg.com", "example.org", "evilexample.org", "example.org.evil.com", "1.1.1.1"]
    assert [host for host in allowed if refused(f"https://{host}/a", policy)] == []
    for host in others:
        with pytest.raises(ForbiddenUrlError, match="not among the hosts"):
            vet_url(f"http://{host}/", policy)


def test_refused_hosts() -> None:
    """A refused host, such as the service itself, is forbidden even if a suffix allows it."""
    policy = ThumbnailPolicy(allowed_hosts=(".hf.space",), refused_hosts=("miles.hf.space",))
    vet_url("https://other.hf.space/", policy)
    assert isinstance(refused("https://MILES.hf.space./", policy), ForbiddenUrlError)


def test_the_services_own_host_is_refused() -> None:
    """The host that Hugging Face names in SPACE_HOST; a value that is not a host refuses none."""
    with pytest.MonkeyPatch.context() as environment:
        for own in ("miles.hf.space", "Miles.hf.space.", "MILES.HF.SPACE"):
            environment.setenv("SPACE_HOST", own)
            policy = ThumbnailPolicy()
            assert isinstance(refused("https://miles.hf.space/a.jpg", policy), ForbiddenUrlError)
            vet_url("https://other.hf.space/a.jpg", policy)
        for other in ("", "localhost:7860", "https://miles.hf.space", ".", " "):
            environment.setenv("SPACE_HOST", other)
            assert ThumbnailPolicy().refused_hosts == ()
        environment.delenv("SPACE_HOST")
        assert ThumbnailPolicy().refused_hosts == ()


def test_unusable_policies_are_refused() -> None:
    """A pattern that could never match, or a limit of 0, is the operator's mistake."""
    for pattern in ("a-5_b.c-5_d.example", ".a-5_b.example", "::c5:1", "localhost"):
        assert ThumbnailPolicy(allowed_hosts=(pattern,)).allows_host(pattern)
    for pattern in (
        "!a.example",
        "[::1]",
        "*.ytimg.com",
        "https://i.ytimg.com",
        "I.YTIMG.COM",
        "i.YTIMG.com",
        "",
        ".",
        "a b",
        "a.com/",
    ):
        with pytest.raises(ValueError, match=r"'\.ytimg\.com'"):
            ThumbnailPolicy(allowed_hosts=(pattern,))
    for limit in ("timeout_s", "max_bytes", "max_connections", "max_connections_per_host"):
        with pytest.raises(ValueError, match=f"{limit} is 0"):
            replace(OPEN, **{limit: 0})
        assert getattr(replace(OPEN, **{limit: 1}), limit) == 1


def test_a_proxy_needs_an_allow_list() -> None:
    """A proxy resolves names itself, so their addresses are not vetted."""
    with pytest.raises(ValueError, match="allow-list"):
        ThumbnailPolicy(proxy="http://127.0.0.1:3128")
    assert ThumbnailPolicy(proxy="http://127.0.0.1:3128", allowed_hosts=(".ytimg.com",)).proxy


def test_headers_are_added_by_host() -> None:
    """For a host, and for those below a suffix; never for others."""
    headers = {"a.example": {"Referer": "https://a.example/"}, ".b.example": {"X": "1", "Y": "2"}}
    policy = ThumbnailPolicy(headers=headers)
    assert {
        host: policy.headers_for(host) for host in ("a.example", "c.b.example", "b.example", "x.a.example")
    } == {
        "a.example": [("Referer", "https://a.example/")],
        "c.b.example": [("X", "1"), ("Y", "2")],
        "b.example": [],
        "x.a.example": [],
    }


def test_an_unreachable_host_has_a_reason_and_a_time() -> None:
    """The reason, a status for example, and the seconds after which a retry may help."""
    error = UnreachableError("a.example answered 503", "http_503", 0.5)
    assert (error.reason, error.retry_s, str(error)) == ("http_503", 0.5, "a.example answered 503")
    assert (UnreachableError("x").reason, UnreachableError("x").retry_s) == ("unreachable", None)


def test_the_host_header_keeps_port_and_brackets() -> None:
    """The port is omitted if it is the scheme's default."""
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
    ("/ü b".encode(), "https://example.com/%C3%BC%20b"),
]
REFUSED_REDIRECTS = [
    b"http://example.com/b", b"//169.254.169.254/", b"https://[::1]/", b"https://user:p@127.0.0.1/",
    b"https://e.com:6379/",
    b"file:///etc/passwd", b"data:image/png;base64,aGk=", b"gopher://127.0.0.1/", b"https://localhost/",
    b"\\\\1.1.1.1\\a",
    b"/a\r\nX: y", b"/a\x00", b"\xff", b"/" + b"a" * 70_000, b"https://[",
    b"ht\ttps://127.0.0.1/", b"https://0x7f.1/",
    b"https:///b.jpg", b"https:b.jpg", b"https:/1.1.1.1/", b"///1.1.1.1/", b"//", b":", b"a:b.jpg", b"1:b",
    b"/a\tb.jpg", b"\x0b/b.jpg", b"/b.jpg\n",
]  # fmt: skip


def test_redirects_are_resolved() -> None:
    base = vet_url("https://example.com/dir/a.jpg", OPEN)
    led = {location: str(vet_redirect(base, location, OPEN)) for location, _ in REDIRECTS}
    assert [location for location, target in REDIRECTS if led[location] != target] == []


def test_redirects_are_vetted() -> None:
    """A Location that would be refused as a URL, or that leaves https, makes the thumbnail unreachable."""
    base, failures = vet_url("https://example.com/dir/a.jpg", OPEN), []
    for location in REFUSED_REDIRECTS:
        try:
            failures.append(f"{location!r} leads to {vet_redirect(base, location, OPEN)}")
        except UnreachableError as exc:
            failures += [] if str(exc).startswith("example.com redirects") else [f"{location!r}: {exc}"]
    assert failures == []


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_refused_by_name(text: str) -> None:
    """Arbitrary text is refused with one of our errors."""
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
    """A host that passes is a public address or a plain name, and a second reading does not change it."""
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
