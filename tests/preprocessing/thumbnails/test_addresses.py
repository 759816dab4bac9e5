"""Which addresses and ports may be dialled."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.thumbnails.policy import Address, ForbiddenUrlError, vet_address, vet_endpoint
from tests.preprocessing.thumbnails.address_rows import ROWS

LOOPBACK = (ip_network("127.0.0.0/8"),)
OTHER_PORTS = (1, 22, 25, 79, 81, 442, 444, 5432, 6379, 7860, 8080, 8443, 65535)


def is_refused(address: Address) -> bool:
    """Whether the address is refused without any trusted network."""
    try:
        vet_address(address)
    except ForbiddenUrlError:
        return True
    return False


def test_blocks_are_refused_to_their_edges() -> None:
    """IPv4 in every IPv6 form too; the public addresses next to a block pass."""
    failures = [str(address) for address, public in ROWS if is_refused(address) is public]
    assert failures == []
    assert len(ROWS) >= 300
    assert sum(public for _, public in ROWS) >= 50


def test_a_refusal_names_the_address() -> None:
    """An operator can read it in the log."""
    with pytest.raises(ForbiddenUrlError, match=r"127\.0\.0\.1 is not a public address"):
        vet_address(ip_address("127.0.0.1"))


@given(st.ip_addresses(v=4))
def test_no_ipv4_passes_that_the_standard_library_refuses(address: IPv4Address) -> None:
    """Every IPv4 address that passes is global unicast to the standard library too."""
    assert is_refused(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6))
def test_no_ipv6_passes_that_the_standard_library_refuses(address: IPv6Address) -> None:
    """Every IPv6 address that passes is global unicast to the standard library and embeds no IPv4 address."""
    embedded = address.ipv4_mapped or address.sixtofour or address.teredo
    assert is_refused(address) or (address.is_global and not address.is_multicast and not embedded)


def test_trusted_networks_are_exempt() -> None:
    """A private address passes within a trusted network only."""
    vet_address(ip_address("127.255.255.255"), LOOPBACK)
    for outside in ("126.255.255.255", "128.0.0.0"):
        vet_address(ip_address(outside), LOOPBACK)
    for private in ("10.0.0.1", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(ForbiddenUrlError):
            vet_address(ip_address(private), LOOPBACK)


def test_ports_other_than_80_and_443_need_trust() -> None:
    """80 and 443 are open on every public address."""
    for port in (80, 443):
        vet_endpoint(ip_address("1.1.1.1"), port)
    for port in OTHER_PORTS:
        vet_endpoint(ip_address("127.0.0.1"), port, LOOPBACK)
        with pytest.raises(ForbiddenUrlError, match=f"port {port} of 1.1.1.1"):
            vet_endpoint(ip_address("1.1.1.1"), port, LOOPBACK)
