"""The address classifier on random addresses, compared with two widely used libraries."""

import ipaddress
import random
from collections import Counter

import netaddr
import pytest
from IPy import IP

from preprocessing.thumbnails.policy import Address, ForbiddenUrlError, vet_address
from tests.hostile.conftest import Record
from tests.preprocessing.thumbnails.address_rows import IPV4_BLOCKS, IPV6_BLOCKS

pytestmark = pytest.mark.hostile
RANDOM = 20_000


def passes(address: Address) -> bool:
    try:
        vet_address(address)
    except ForbiddenUrlError:
        return False
    return True


def netaddr_passes(address: Address) -> bool:
    """netaddr's: IANA's registries, and no multicast."""
    known = netaddr.IPAddress(str(address))
    return bool(known.is_global() and not known.is_multicast())


def ipy_passes(address: Address) -> bool:
    kind = IP(str(address)).iptype()
    return kind in ("PUBLIC", "GLOBAL-UNICAST") or kind.startswith("ALLOCATED")


def drawn(chance: random.Random) -> Address:
    """A random address; half of them are near the edge of a block, where mistakes happen."""
    if chance.random() < 0.5:
        block = ipaddress.ip_network(chance.choice([*IPV4_BLOCKS, *IPV6_BLOCKS])[0])
        edge = int(chance.choice([block[0], block[-1]])) + chance.randint(-3, 3) * 2 ** chance.randrange(
            0, 96
        )
        width = 2 ** (32 if block.version == 4 else 128)
        return type(block[0])(edge % width)
    if chance.random() < 0.5:
        return ipaddress.IPv4Address(chance.getrandbits(32))
    return ipaddress.IPv6Address(1 << 125 | chance.getrandbits(125))  # in 2000::/3; elsewhere all is refused


def test_random_addresses(promise: Record) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)  # noqa: S311  not a secret
    looser: Counter[str] = Counter()
    passed = 0
    for _ in range(RANDOM):
        address = drawn(chance)
        if not passes(address):
            continue
        passed += 1
        looser["netaddr"] += not netaddr_passes(address)
        looser["IPy"] += not ipy_passes(address)
    promise(
        "address classifier",
        figure=f"{RANDOM:,} drawn (seed {seed}), {passed:,} pass; looser than netaddr {looser['netaddr']}, "
        f"than IPy {looser['IPy']}",
        kept=not looser.total() and passed > RANDOM / 10,
    )
