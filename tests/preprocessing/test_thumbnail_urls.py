"""URLs that strangers write: what each is refused for, and what is requested of those that pass."""

import base64
import re
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preprocessing.addresses import vet_endpoint
from preprocessing.thumbnail_policy import (
    BadUrlError,
    ForbiddenUrlError,
    ThumbnailPolicy,
    ThumbnailTooLargeError,
    UnreachableError,
)
from preprocessing.thumbnail_urls import VettedUrl, decode_data_url, vet_redirect, vet_url

OPEN = ThumbnailPolicy()
LOOPBACK = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))

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
    ("http://example.com/" + "a" * 2029, "http", "example.com", 80, "/" + "a" * 2029),
]  # fmt: skip

BAD = [
    "", " ", "not a url", "null", "None", "example.com/a.jpg", "example.com:80/a.jpg", "/a.jpg",
    "//127.0.0.1/a",
    "http", "http:", "http:/", "http://", "http:///a.jpg", "http:/127.0.0.1/", "http:127.0.0.1",
    "https:example.com",
    "http:\\\\127.0.0.1\\", "http://example.com\\@127.0.0.1/", "http://127.0.0.1\\.example.com/",
    "http:/\\1.1.1.1/",
    "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/", " http://example.com/", "http://example.com/ ",
    "http://exam ple.com/",
    "http://ex\tample.com/", "http://example.com/\r\nHost: b", "http://example.com/\x00",
    "http://example.com/\x7f",
    "http://example.com/\x85", "\x01http://example.com/", "http://example.com/a\nb", "ht\ntp://example.com/",
    "http://a%00b.com/", "http://example.com%0d%0aHost:b/", "http://loc%61lhost/",
    "http://[[::1]]/", "http://[127.0.0.1]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/",
    "http://[::1/",
    "http://::1]/", "http://::1/", "http://[::1]a.com/", "http://a.com[::1]/", "http://[]/", "http://[v1.a]/",
    "http://[1:2:3]/", "http://[::12345]/", "http://[::1]]/", "http://[::ffff:1.2.3.256]/",
    "http://example..com/", "http://.example.com/", "http://example.com../", "http://./", "http://../",
    "http://-a.com/", "http://a-.com/", "http://a.-b.com/", "http://" + "a" * 64 + ".com/",
    "http://" + ".".join(["abc"] * 64) + "/", "http://exa!mple.com/", "http://exa*mple.com/",
    "http://a,b.com/",
    "http://$(id).example.com/", "http://a;b.com/", "http://a'b.com/", "http://<a>.com/", "http://a|b.com/",
    "http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://127．0．0．1/", "http://１２７.0.0.1/",
    "http://bücher.example/",
    "http://ⓔxample.com/", "http://exam\u00adple.com/", "http://exam\u200bple.com/", "http://a\u202e.com/",
    "http://a℀b.com/", "http://example.com\uff0f@127.0.0.1/", "http://localho\u017ft/",
    "http://\u212aelvin.com/",
    "http://\ud800.com/", "http://example.com/\udfff", "http://example.com/" + "a" * 2030,
    "http://" + "a" * 70_000,
    "http://example.com:/", "http://example.com:65536/", "http://example.com:-1/", "http://example.com:0/",
    "http://example.com:+80/", "http://example.com:080/", "http://example.com:8 0/", "http://example.com:８０/",
    "http://example.com:80:80/", "http://example.com:http/", "http://example.com:99999999999999999999/",
    "http://:80/", "http://?a", "http://#a",
    "http://017700000001/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0177.0.0.01/",
    "http://127.0.1/",
    "http://127.1/", "http://0/", "http://1/", "http://2130706433/", "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0XA9.0XFE.0XA9.0XFE/", "http://127.0.0.256/", "http://127.0.0.1./", "http://127.0.0.0x1/",
    "http://127.0.0.01/", "http://1.2.3.4.5/", "http://00000127.0.0.1/", "http://o177.0.0.1/", "http://a.0/",
    "http://example.0x/", "http://4294967296/", "http://99999999999/", "http://127.0.0.1.0/",
    "://example.com/", ":", "1http://example.com/", "h ttp://example.com/", "http;//example.com/",
    "<http://a.com>",
]  # fmt: skip

FORBIDDEN = [
    "FILE:///etc/passwd", "file://127.0.0.1/etc/passwd", "file:/etc/passwd", "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats", "sftp://example.com/", "ftp://example.com/a.jpg", "tftp://example.com/a",
    "ldap://127.0.0.1/", "netdoc:///etc/passwd", "jar:http://example.com!/", "blob:https://example.com/uuid",
    "ws://example.com/", "wss://example.com/", "s3://bucket/a.jpg", "gs://bucket/a.jpg",
    "javascript:alert(1)",
    "view-source:http://127.0.0.1/", "mailto:a@example.com", "about:blank", "unix:///run/docker.sock",
    "http+unix://%2Frun%2Fdocker.sock/", "url:http://127.0.0.1/", "localhost:8080/a.jpg",
    "http://example.com:25/", "http://example.com:22/", "http://example.com:5432/",
    "http://example.com:7860/",
    "http://example.com:8080/", "http://example.com:65535/", "http://1.1.1.1:6379/",
    "http://[2606:4700::1]:81/",
    "http://user:pass@example.com/", "http://user@example.com/", "http://127.0.0.1@example.com/",
    "http://@example.com/",
    "http://example.com:80@127.0.0.1/", "http://a@b@example.com/", "http://:@example.com/",
    "http://example.com@[::1]/",
    "http://127.0.0.1%2f@example.com/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    "http://foo.localhost/", "http://ip6-localhost/",
    "http://localhost:80/", "http://printer.local/", "http://metadata.google.internal/",
    "http://router.home.arpa/",
    "http://localhost.localdomain/", "http://intranet/", "http://com/", "http://q177/", "http://0o177/",
    "http://metadata/", "http://abcdefghij.onion/", "http://x.i2p/", "http://onion/",
    "http://127.0.0.1/", "http://127.255.255.255/", "http://0.0.0.0/", "http://0.1.2.3/",
    "http://10.255.255.255/",
    "http://100.64.0.0/", "http://100.100.100.200/", "http://168.63.129.16/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/", "http://172.16.0.0/", "http://192.0.0.8/", "http://192.0.0.170/",
    "http://192.0.0.192/",
    "http://192.0.2.1/", "http://192.168.0.1/", "http://198.18.0.1/", "http://198.51.100.7/",
    "http://203.0.113.7/",
    "http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/", "https://127.0.0.1/",
    "http://127.0.0.1:80/",
    "http://[::]/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/",
    "http://[::FFFF:7F00:1]/",
    "http://[::ffff:169.254.169.254]/", "http://[::ffff:8.8.8.8]/", "http://[::8.8.8.8]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::808:808]/", "http://[64:ff9b:1::7f00:1]/", "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", "http://[2001:470:1:1:0:5efe:a00:1]/",
    "http://[fe80::1]/",
    "http://[fe80::5efe:7f00:1]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[ff0e::1]/",
    "http://[100::1]/", "http://[3fff::1]/", "http://[5f00::1]/", "http://[2001:10::1]/",
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
        ThumbnailPolicy(**{limit: 0})


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
]
REFUSED_REDIRECTS = [
    b"http://example.com/b", b"//169.254.169.254/", b"https://[::1]/", b"https://user:p@127.0.0.1/",
    b"https://e.com:6379/",
    b"file:///etc/passwd", b"data:image/png;base64,aGk=", b"gopher://127.0.0.1/", b"https://localhost/",
    b"\\\\1.1.1.1\\a",
    b"/a\r\nX: y", b"/a\x00", b"/a b", "/ü".encode(), b"\xff", b"/" + b"a" * 70_000, b"https://[",
    b"ht\ttps://127.0.0.1/", b"https://0x7f.1/",
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
    "head", ["data:image/png;base64,", "DATA:IMAGE/JPEG;BASE64,", "data:image/svg+xml;base64,"]
)
def test_data_urls_are_decoded(head: str) -> None:
    """The image of a data: URL is its base64 payload, whatever kind of image it claims to be."""
    assert decode_data_url(head + "aGk=", 100) == b"hi"


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
