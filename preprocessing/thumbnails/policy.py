"""What may be fetched as a thumbnail, and the vocabulary of refusing one.

    ThumbnailError
    ├── BadUrlError              bad_url       not a valid URL
    ├── ForbiddenUrlError        forbidden     the text names a place that is never asked
    ├── UnreachableError         unreachable   the place was looked up or asked and gave no image
    ├── MistypedError            not_an_image  the answer claims to be two things at once
    └── ThumbnailTooLargeError   too_large     more bytes than the policy takes

An error's text is for the log and names the host at most, never what it resolved to. A client sees `reason`
only: a more detailed answer would reveal which internal hosts and ports exist.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST_PATTERN = re.compile(r"\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]+")


class ThumbnailError(Exception):
    """A thumbnail that cannot be had. The root of what `ThumbnailFetcher.fetch` raises."""

    reason: ClassVar[str]


class BadUrlError(ThumbnailError):
    """An unsupported URL: syntax, length, characters, or a `data:` URL without a base64 image."""

    reason = "bad_url"


class ForbiddenUrlError(ThumbnailError):
    """A URL whose scheme, user, host or port the policy refuses as written, before any look-up."""

    reason = "forbidden"


class UnreachableError(ThumbnailError):
    """A host that does not resolve to public addresses, or does not answer 200 with a body in time."""

    reason = "unreachable"


class MistypedError(ThumbnailError):
    """A Content-Type that names two types: what one reader takes for an image, another runs as a page."""

    reason = "not_an_image"


class ThumbnailTooLargeError(ThumbnailError):
    """More bytes than the policy takes."""

    reason = "too_large"


def own_hosts() -> tuple[str, ...]:
    """The host under which Hugging Face publishes this service as a Space: asking it is asking ourselves."""
    host = os.environ.get("SPACE_HOST", "").lower().rstrip(".")
    return (host,) if _HOST_PATTERN.fullmatch(host) else ()  # other texts are no URL's host


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

    def __post_init__(self) -> None:
        for name in ("timeout_s", "max_bytes", "max_connections", "max_connections_per_host"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        for pattern in (*self.allowed_hosts, *self.refused_hosts):
            if not _HOST_PATTERN.fullmatch(pattern):
                raise ValueError(
                    f"{pattern!r} is not a host pattern; expected a lower-case host such as 'i.ytimg.com', "
                    "or a suffix such as '.ytimg.com' for every host below it"
                )

    def allows_host(self, host: str) -> bool:
        """Whether a host, lower-case and without a final dot, may be asked as far as its name goes."""
        if _matches(host, self.refused_hosts):
            return False
        return not self.allowed_hosts or _matches(host, self.allowed_hosts)


def _matches(host: str, patterns: Collection[str]) -> bool:
    return any(host == each or (each.startswith(".") and host.endswith(each)) for each in patterns)
