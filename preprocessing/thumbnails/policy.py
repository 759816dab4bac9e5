"""What may be fetched as a thumbnail: hosts, addresses, ports and sizes.

Addresses are public unicast ones, and what the operator trusts. The standard library's `is_global` is not
enough: it passes NAT64, 6to4, multicast and site-local addresses, behind which private IPv4 hosts may answer.
So IPv4 is allowed outside a list of refused blocks, and IPv6 only within one block.
"""

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from preprocessing.image import ImageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST_PATTERN = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+")
WEB_PORTS = (80, 443)

# IANA's IPv4 special-purpose registry, whole, even where it says "globally reachable": none serves images.
REFUSED_IPV4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's host agent on a public-looking address
        "169.254.0.0/16",  # link-local, and metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, and a cloud's metadata service
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # automatic multicast tunnelling
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)

# Of global unicast, 2000::/3, IANA gives out the lower half and keeps the upper one, with 3fff::/20
# (documentation) and 3ffe::/16 (the 6bone, returned): no registry has it, so no public server does.
GLOBAL_IPV6 = IPv6Network("2000::/4")
REFUSED_IPV6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2001:3c00::/22",  # kept by IANA
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",  # AS112
        "2d00::/8",  # kept by IANA
        "2e00::/7",  # kept by IANA
    )
)
# An interface id of 0000:5efe or 0200:5efe is ISATAP: the last 32 bits are an IPv4 address.
ISATAP_MARK, ISATAP_MASK = 0x00005EFE, 0xFDFFFFFF


class ForbiddenUrlError(ImageError):
    """A URL whose scheme, user, host or port the policy refuses as written, before any look-up."""

    reason = "forbidden"


class UnreachableError(ImageError):
    """A host that does not resolve to public addresses, or does not answer 200 with a body in time.

    Its reason is `unreachable`, `timeout`, `truncated` or `empty` (a body), or a status such as `http_404`.
    `retry_s` is how long to wait before another attempt may help; None if it will not.
    """

    reason = "unreachable"

    def __init__(self, text: str, reason: str | None = None, retry_s: float | None = None) -> None:
        super().__init__(text, reason)
        self.retry_s = retry_s


def own_hosts() -> tuple[str, ...]:
    """The host under which Hugging Face publishes this service as a Space: asking it is asking ourselves."""
    host = os.environ.get("SPACE_HOST", "").lower().rstrip(".")
    return (host,) if _HOST_PATTERN.fullmatch(host) else ()  # other texts are not the host of any URL


@dataclass(frozen=True, slots=True)
class ThumbnailPolicy:
    """The operator's limits. `timeout_s` is one deadline for resolving, dialling, redirects and body.

    `allowed_hosts` holds hosts and ".suffix" patterns, empty for any public host; `refused_hosts` is the
    same for hosts never asked, by default the service's own. `trusted_networks` are exempt from the ban on
    private addresses and on ports; naming one also lets names such as "localhost" go to the resolver.
    """

    timeout_s: float = 6.0
    max_bytes: int = 8 * 1024 * 1024
    allowed_hosts: Collection[str] = ()
    refused_hosts: Collection[str] = field(default_factory=own_hosts)
    trusted_networks: tuple[Network, ...] = ()
    max_connections: int = 64
    max_connections_per_host: int = 16
    max_redirects: int = 5
    user_agent: str = "Miles/1.0"
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """More headers by host or ".suffix" pattern."""
    proxy: str | None = None
    """http(s) proxy that is asked instead of the hosts; it resolves names, so `allowed_hosts` must be set."""

    def __post_init__(self) -> None:
        for name in ("timeout_s", "max_bytes", "max_connections", "max_connections_per_host"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        if self.proxy is not None and not self.allowed_hosts:
            raise ValueError("a proxy resolves names itself, so it needs an allow-list of hosts")
        for pattern in (*self.allowed_hosts, *self.refused_hosts, *self.headers):
            if not _HOST_PATTERN.fullmatch(pattern):
                raise ValueError(
                    f"{pattern!r} is not a host pattern; expected a lower-case host such as 'i.ytimg.com', "
                    "or a suffix such as '.ytimg.com' for every host below it"
                )

    def allows_host(self, host: str) -> bool:
        """Whether a host, lower-case and without a final dot, may be asked, judging by its name."""
        if _matches(host, self.refused_hosts):
            return False
        return not self.allowed_hosts or _matches(host, self.allowed_hosts)

    def headers_for(self, host: str) -> list[tuple[str, str]]:
        """The headers that the policy adds for a host."""
        return [
            pair for each, extra in self.headers.items() if _matches(host, (each,)) for pair in extra.items()
        ]


def _matches(host: str, patterns: Collection[str]) -> bool:
    return any(host == each or (each.startswith(".") and host.endswith(each)) for each in patterns)


def vet_address(address: Address, trusted_networks: Collection[Network] = ()) -> None:
    """Raise `ForbiddenUrlError` unless the address is public unicast or within a trusted network."""
    if not _is_public(address) and not _is_within(address, trusted_networks):
        raise ForbiddenUrlError(f"{address} is not a public address or in a trusted network")


def vet_endpoint(address: Address, port: int, trusted_networks: Collection[Network] = ()) -> None:
    """`vet_address`, and a port other than 80 and 443 only where the address is trusted."""
    vet_address(address, trusted_networks)
    if port not in WEB_PORTS and not _is_within(address, trusted_networks):
        raise ForbiddenUrlError(
            f"port {port} of {address} is not allowed; outside trusted networks only 80 and 443 are"
        )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _is_within(address, REFUSED_IPV4)
    is_isatap = int(address) >> 32 & ISATAP_MASK == ISATAP_MARK
    return address in GLOBAL_IPV6 and not is_isatap and not _is_within(address, REFUSED_IPV6)


def _is_within(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)
