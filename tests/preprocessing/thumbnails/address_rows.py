"""More than 300 addresses and whether each may be dialled, spelled out apart from the code that decides it.

Every block of IANA's special-purpose registries with its first and last address and the ones just outside,
addresses in no registry of public servers, and every way to write an IPv4 address inside an IPv6 one.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# A refused block, and whether the addresses just below and above it are public; None where there is none.
Block = tuple[str, bool | None, bool | None]
IPV4_BLOCKS: list[Block] = [
    ("0.0.0.0/8", None, True),
    ("0.0.0.0/32", None, False),
    ("10.0.0.0/8", True, True),
    ("100.64.0.0/10", True, True),
    ("127.0.0.0/8", True, True),
    ("168.63.129.16/32", True, True),  # in no registry; a cloud's host agent
    ("169.254.0.0/16", True, True),
    ("172.16.0.0/12", True, True),
    ("192.0.0.0/24", True, True),
    ("192.0.0.0/29", True, False),
    ("192.0.0.8/32", False, False),
    ("192.0.0.9/32", False, False),
    ("192.0.0.10/32", False, False),
    ("192.0.0.170/31", False, False),
    ("192.0.0.192/32", False, False),  # in no registry of its own; a cloud's metadata service
    ("192.0.2.0/24", True, True),
    ("192.31.196.0/24", True, True),
    ("192.52.193.0/24", True, True),
    ("192.88.99.0/24", True, True),
    ("192.88.99.2/32", False, False),
    ("192.168.0.0/16", True, True),
    ("192.175.48.0/24", True, True),
    ("198.18.0.0/15", True, True),
    ("198.51.100.0/24", True, True),
    ("203.0.113.0/24", True, True),
    ("224.0.0.0/4", True, False),
    ("240.0.0.0/4", False, None),
    ("255.255.255.255/32", False, None),
]
IPV6_BLOCKS: list[Block] = [
    ("::/128", None, False),
    ("::1/128", False, False),
    ("::ffff:0:0/96", False, False),
    ("64:ff9b::/96", False, False),
    ("64:ff9b:1::/48", False, False),
    ("100::/64", False, False),
    ("100:0:0:1::/64", False, False),
    ("1000::/4", False, True),
    ("2001::/23", True, True),
    ("2001::/32", True, False),
    ("2001:1::1/128", False, False),
    ("2001:1::2/128", False, False),
    ("2001:1::3/128", False, False),
    ("2001:2::/48", False, False),
    ("2001:3::/32", False, False),
    ("2001:4:112::/48", False, False),
    ("2001:10::/28", False, False),
    ("2001:20::/28", False, False),
    ("2001:30::/28", False, False),
    ("2001:db8::/32", True, True),
    ("2001:3c00::/22", True, True),
    ("2002::/16", True, True),
    ("2620:4f:8000::/48", True, True),
    ("2d00::/8", True, False),
    ("2e00::/7", False, False),
    ("3000::/4", False, False),
    ("3ffe::/16", False, False),
    ("3fff::/20", False, False),
    ("4000::/3", False, False),
    ("5f00::/16", False, False),
    ("8000::/1", False, None),
    ("fc00::/7", False, False),
    ("fd00::/8", False, False),
    ("fe80::/10", False, False),
    ("fec0::/10", False, False),
    ("ff00::/8", False, None),
]
EMBEDDED = [
    "0.0.0.0", "10.0.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "8.8.8.8",
    "93.184.215.14",
]  # fmt: skip
SINGLE_REFUSED = [
    "0.1.2.3", "100.100.100.200", "169.254.170.2", "224.0.0.251", "239.255.255.250", "fd00:ec2::254",
    "ff02::1", "ff0e::1", "fe80::1%1", "fe80::a9fe:a9fe", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.9.9.9", "93.184.215.14", "142.250.185.78", "151.101.1.140", "9.255.255.255",
    "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888", "2620:fe::fe",
    "2a00:1450:4001:81b::2016", "2400:cb00:2048:1::6814:55", "2c0f:fb50::1", "2803:f800:50::6ca2:c0f3",
    "2001:470:1:1:0:5eff:a00:1", "2001:470:1:1:100:5efe:a00:1", "2001:470:1:1:400:5efe:a00:1",
]  # fmt: skip


def translated(prefix: str, length: int, address: IPv4Address) -> IPv6Address:
    """RFC 6052: the address after a prefix of `length` bits, skipping the ninth octet."""
    octets = bytearray(IPv6Address(prefix).packed)
    places = [place for place in range(length // 8, 16) if place != 8]
    for place, octet in zip(places, address.packed, strict=False):
        octets[place] = octet
    return IPv6Address(bytes(octets))


def disguises(address: IPv4Address) -> Iterator[IPv6Address]:
    """Every IPv6 address whose form alone encodes an IPv4 address."""
    bits = int(address)
    yield IPv6Address(bits)  # IPv4-compatible
    yield IPv6Address(0xFFFF << 32 | bits)  # IPv4-mapped
    yield IPv6Address(0xFFFF << 48 | bits)  # IPv4-translated
    yield IPv6Address(0x64FF9B << 96 | bits)  # NAT64, well known
    for length in (48, 56, 64, 96):  # local NAT64
        yield translated("64:ff9b:1::", length, address)
    yield IPv6Address(0x2002 << 112 | bits << 80 | 1)  # 6to4
    yield IPv6Address(0x20010000 << 96 | bits << 64)  # Teredo, the server
    yield IPv6Address(0x20010000 << 96 | 0x41 << 80 | bits ^ 0xFFFFFFFF)  # Teredo, the client
    for mark in (0x5EFE, 0x02005EFE):  # ISATAP, private and public
        yield IPv6Address(0x2001047000010001 << 64 | mark << 32 | bits)
        yield IPv6Address(0xFE80 << 112 | mark << 32 | bits)
    yield IPv6Address(0xFE80 << 112 | bits)  # 6over4


def rows() -> dict[str, bool]:
    """Address to whether it is public."""
    found: dict[str, bool] = {}
    for text, below, above in (*IPV4_BLOCKS, *IPV6_BLOCKS):
        block = ip_network(text)
        found |= {str(block[0]): False, str(block[-1]): False}
        if below is not None:
            found[str(block[0] - 1)] = below
        if above is not None:
            found[str(block[-1] + 1)] = above
    for text in EMBEDDED:
        found |= {str(each): False for each in disguises(IPv4Address(text))}
    return found | dict.fromkeys(SINGLE_REFUSED, False) | dict.fromkeys(PUBLIC, True)


ROWS = [(ip_address(text), public) for text, public in rows().items()]
