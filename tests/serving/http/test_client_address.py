"""Who the client is, behind proxies that are trusted and others that are not."""

from ipaddress import ip_network

import pytest

from serving.http.rate_limit import client_of

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def client(peer: str | None, *forwarded: str, trusted: bool = True) -> str:
    """The client of a request from `peer` with these X-Forwarded-For headers."""
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    scope = {"client": peer and (peer, 40_000), "headers": [(b"host", b"9.9.9.9"), *headers]}
    return client_of(scope, PROXIES if trusted else [])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7", "10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:1234"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::1]:1234"], "2001:db8::"),
        ("fd00::1", ["2001:db8:0:0:ffff::1"], "2001:db8::"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
    ],
)
def test_first_hop_from_the_right_that_is_no_proxy_of_ours(
    peer: str, forwarded: list[str], expected: str
) -> None:
    """Trusted proxies are stepped over from the right; what stands further left was written by anybody."""
    assert client(peer, *forwarded) == expected


@pytest.mark.parametrize(
    "line", ["unknown", "", "1.1.1.1, garbage", "1.1.1.1,", "\xff\xfe", "_hidden, for=1.1.1.1"]
)
def test_unreadable_hop_leaves_the_proxy_that_wrote_it(line: str) -> None:
    """Where a trusted proxy says nothing that can be read, its own address is the client's."""
    assert client("10.0.0.1", line) == "10.0.0.1"


@pytest.mark.parametrize("peer", ["203.0.113.9", "127.0.0.1"])
def test_stranger_cannot_say_who_it_is(peer: str) -> None:
    """A peer that is no trusted proxy is the client, whatever its header says; this machine too."""
    assert client(peer, "10.0.0.1") == peer
    assert client("10.0.0.1", "203.0.113.7", trusted=False) == "10.0.0.1"


def test_all_hops_trusted_is_the_first_of_them() -> None:
    """A request from within our own network is from its leftmost hop."""
    assert client("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"


def test_addresses_of_one_subscriber_are_one_client() -> None:
    """IPv6 clients are counted by their /64."""
    assert client("2001:db8:1:2::1") == client("2001:db8:1:2:ffff:ffff:ffff:ffff") == "2001:db8:1:2::"
    assert client("2001:db8:1:2::1") != client("2001:db8:1:3::1")


@pytest.mark.parametrize("peer", [None, "testclient"])
def test_nameless_client_is_one(peer: str | None) -> None:
    """Where the server knows no address, all share one."""
    assert client(peer) == "unknown"
