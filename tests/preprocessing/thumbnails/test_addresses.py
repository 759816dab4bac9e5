"""What may be dialled, row by row, and never more than the standard library would."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.thumbnails.addresses import vet_address, vet_endpoint
from preprocessing.thumbnails.policy import Address, ForbiddenUrlError
from tests.preprocessing.thumbnails.address_rows import ROWS

LOOPBACK = (ip_network("127.0.0.0/8"),)


def is_refused(address: Address) -> bool:
    """Whether the address is refused without any trusted network."""
    try:
        vet_address(address)
    except ForbiddenUrlError:
        return True
    return False


@pytest.mark.parametrize(("address", "public"), ROWS, ids=str)
def test_rows(address: Address, public: bool) -> None:
    """Blocks are refused to their edges, IPv4 in every disguise too, and what lies beside them passes."""
    assert is_refused(address) is not public


def test_the_rows_are_many() -> None:
    """There are 300 rows and more, and of both verdicts."""
    assert len(ROWS) >= 300
    assert sum(public for _, public in ROWS) >= 50


def test_a_refusal_names_the_address() -> None:
    """What is refused is said, for an operator who reads the log."""
    with pytest.raises(ForbiddenUrlError, match=r"127\.0\.0\.1 is not a public address"):
        vet_address(ip_address("127.0.0.1"))


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
