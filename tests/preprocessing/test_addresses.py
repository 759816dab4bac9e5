"""The edges of what may be dialled. Blocks are spelled out here again: a test of a list is a second list."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.addresses import vet_address, vet_endpoint
from preprocessing.thumbnail_policy import Address, ForbiddenUrlError

LOOPBACK = (ip_network("127.0.0.0/8"),)

# first refused, last refused, and whether the addresses just below and just above are public
IPV4_BLOCKS = [
    ("0.0.0.0", "0.255.255.255", None, True),
    ("10.0.0.0", "10.255.255.255", True, True),
    ("100.64.0.0", "100.127.255.255", True, True),
    ("127.0.0.0", "127.255.255.255", True, True),
    ("168.63.129.16", "168.63.129.16", True, True),
    ("169.254.0.0", "169.254.255.255", True, True),
    ("172.16.0.0", "172.31.255.255", True, True),
    ("192.0.0.0", "192.0.0.255", True, True),
    ("192.0.2.0", "192.0.2.255", True, True),
    ("192.31.196.0", "192.31.196.255", True, True),
    ("192.52.193.0", "192.52.193.255", True, True),
    ("192.88.99.0", "192.88.99.255", True, True),
    ("192.168.0.0", "192.168.255.255", True, True),
    ("192.175.48.0", "192.175.48.255", True, True),
    ("198.18.0.0", "198.19.255.255", True, True),
    ("198.51.100.0", "198.51.100.255", True, True),
    ("203.0.113.0", "203.0.113.255", True, True),
    ("224.0.0.0", "239.255.255.255", True, False),
    ("240.0.0.0", "255.255.255.255", False, None),
]
IPV6_BLOCKS = [
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, True),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2001:3c00::", "2001:3fff:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2d00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", True, None),
]
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888",
    "2a00:1450:4001:81b::2016", "2001:470:1:1:0:5eff:a00:1", "2001:470:1:1:100:5efe:a00:1",
]  # fmt: skip
REFUSED = [
    "0.1.2.3", "10.255.255.255", "100.100.100.200", "168.63.129.16", "169.254.169.254", "169.254.170.2",
    "192.0.0.8",
    "192.0.0.170", "192.0.0.192", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:470:1:1:0:5efe:a00:1",
    "2001:470:1:1:200:5efe:808:808", "fe80::1", "fe80::5efe:7f00:1", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1",
    "ff0e::1", "100::1", "3fff::1", "5f00::1", "2001:10::1", "2001:20::1", "2001:db8::1", "fe80::1%1",
]  # fmt: skip


def is_refused(address: Address) -> bool:
    """Whether the address is refused without any trusted network."""
    try:
        vet_address(address)
    except ForbiddenUrlError:
        return True
    return False


@pytest.mark.parametrize(("first", "last", "below", "above"), IPV4_BLOCKS + IPV6_BLOCKS)
def test_blocks_are_refused_to_their_edges(
    first: str, last: str, below: bool | None, above: bool | None
) -> None:
    """A block's first and last address are refused, and what lies just outside is judged for itself."""
    assert is_refused(ip_address(first))
    assert is_refused(ip_address(last))
    if below is not None:
        assert is_refused(ip_address(first) - 1) is not below
    if above is not None:
        assert is_refused(ip_address(last) + 1) is not above


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    """An ordinary public address may be dialled."""
    vet_address(ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_other_addresses_are_refused(address: str) -> None:
    """An address that is private, special or an IPv4 address in disguise is refused by name."""
    with pytest.raises(ForbiddenUrlError, match="is not a public address"):
        vet_address(ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_ipv4_passes_that_the_standard_library_refuses(address: IPv4Address) -> None:
    """Whatever IPv4 address passes is global unicast to the standard library too."""
    assert is_refused(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6))
def test_no_ipv6_passes_that_the_standard_library_refuses(address: IPv6Address) -> None:
    """Whatever IPv6 address passes is global unicast to the standard library too, and embeds no IPv4."""
    embedded = address.ipv4_mapped or address.sixtofour or address.teredo
    assert is_refused(address) or (address.is_global and not address.is_multicast and not embedded)


def test_trusted_networks_are_exempt() -> None:
    """A private address passes within a network that the operator trusts, and just outside it does not."""
    vet_address(ip_address("127.255.255.255"), LOOPBACK)
    for outside in ("126.255.255.255", "128.0.0.0"):
        vet_address(ip_address(outside), LOOPBACK)
    for private in ("10.0.0.1", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(ForbiddenUrlError):
            vet_address(ip_address(private), LOOPBACK)


@pytest.mark.parametrize("port", [80, 443])
def test_web_ports_are_open_everywhere(port: int) -> None:
    """80 and 443 may be asked on any public address."""
    vet_endpoint(ip_address("1.1.1.1"), port)


@pytest.mark.parametrize("port", [1, 22, 25, 79, 81, 442, 444, 5432, 6379, 7860, 8080, 8443, 65535])
def test_other_ports_need_trust(port: int) -> None:
    """Any other port may be asked within a trusted network alone."""
    vet_endpoint(ip_address("127.0.0.1"), port, LOOPBACK)
    with pytest.raises(ForbiddenUrlError, match=f"port {port} of 1.1.1.1"):
        vet_endpoint(ip_address("1.1.1.1"), port, LOOPBACK)
