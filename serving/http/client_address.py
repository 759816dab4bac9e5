"""Who asks: the address that a limit is counted by. It is never logged.

A header that any client can write is believed only from proxies that the operator named: each of them appends
the address it was called from to `X-Forwarded-For`, so the list is read from its right end, and the first
address that is no trusted proxy is the client's.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

Network = IPv4Network | IPv6Network
# One subscriber has a /64 at least (RFC 6177), and may use another address of it for every request.
IPV6_PREFIX = 64


def client_of(scope: Scope, trusted: Sequence[Network]) -> str:
    """The client's address, an IPv6 one as its /64; `unknown` where the server names none."""
    peer = _address(scope["client"][0]) if scope.get("client") else None
    if peer is None:
        return "unknown"
    if trusted:
        hops = [
            hop for name, value in scope["headers"] if name == b"x-forwarded-for" for hop in value.split(b",")
        ]
        while hops and any(peer in network for network in trusted):
            before = _address(hops.pop().decode("latin-1"))
            if before is None:  # what the proxy was told and nobody can read: the proxy itself is the client
                break
            peer = before
    return _block(peer)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; an embedded IPv4 one is itself."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _block(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Address(int(address) >> IPV6_PREFIX << IPV6_PREFIX))
