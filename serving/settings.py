"""Every setting: an environment variable with the prefix MILES_, its range and its description."""

import difflib
import importlib.util
import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from preprocessing.thumbnails.policy import ThumbnailPolicy

PREFIX = "MILES_"
Network = IPv4Network | IPv6Network
MEBIBYTE = 1024 * 1024
MIN_KEY_LENGTH = 16  # shorter keys could be guessed over the network
TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{{MIN_KEY_LENGTH},}}=*")  # RFC 6750, 2.1
ORIGIN = re.compile(r"\*|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?")  # goes into a header, so no ;
YOUTUBE_URL = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._-]+)*")
HEADER_VALUE = r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$"
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Headers that the fetcher itself sends, or that would change how a response is framed.
OWN_HEADERS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent")
SECRETS = (
    *("api_keys", "shared_cache_secret", "shared_cache_url"),
    *("thumbnail_headers", "thumbnail_proxy", "youtube_api_key"),
)


class SettingsError(Exception):
    """Invalid settings: one line each, with the variable, its value and what is expected."""


class Settings(BaseSettings):
    """The service's settings. Lists are comma-separated: `MILES_CORS_ORIGINS=https://a.com,https://b.com`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    checkpoint: str = Field(
        "models/model_full.pt",
        min_length=1,
        description="Checkpoint to serve: a file, a bundle directory, or hf://owner/repo/file[@revision].",
    )
    checkpoint_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Refuse a checkpoint with a different sha256."
    )
    bundle_sha256: str | None = Field(
        None,
        pattern="^[0-9a-fA-F]{64}$",
        description="Refuse a compiled bundle whose bundle.json has a different sha256.",
    )
    shadow_checkpoint: str | None = Field(
        None,
        min_length=1,
        description="Second checkpoint, read again at each reload, that scores beside the served one when "
        "the service is idle, and one video of 20 when it never is. Takes the memory of another model.",
    )
    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104 a container is reached from outside
    port: int = Field(7860, ge=1, le=65535, description="Port to listen on.")
    engine: Literal["openvino", "torch"] = Field(
        "openvino", description="Inference engine: OpenVINO, or PyTorch (reference, GPU)."
    )
    precision: Literal["auto", "exact", "f32", "bf16", "int8"] = Field(
        "auto",
        description="Numeric precision of the towers; `auto` is the fastest that passes the fidelity check "
        "(torch: bf16 on a GPU, no int8; on a CPU f32, or exact for a checkpoint without golden answers, "
        "such as one trained elsewhere). `exact` (torch) is f32 with each text alone and padded, as in "
        "training: the training's own digits, several times slower.",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Device of the torch engine.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads per forward pass. Default: all CPUs allowed by affinity and cgroup.",
    )
    max_batch_size: int = Field(
        8,
        ge=1,
        le=256,
        description="Maximum number of pictures per forward pass; four times that for titles, if above 1.",
    )
    max_request_bytes: int = Field(
        16 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="Maximum request body size; above it, 413."
    )
    max_queue_size: int = Field(
        320, ge=1, le=100_000, description="Maximum number of queued videos; above it, 503."
    )
    receive_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time limit for a request's headers, and again for its body."
    )
    request_timeout_s: float = Field(
        20.0, gt=0, le=600, description="Deadline for answering a request; after it, 504."
    )
    forward_timeout_s: float = Field(
        10.0, gt=0, le=600, description="Time limit for a forward pass; after it, the process exits."
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="API keys. When set, scoring requires `Authorization: Bearer <key>`."
    )
    rate_limit: int = Field(
        0, ge=0, le=1_000_000, description="Videos per minute and client; above it, 429. 0 is off."
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Networks (CIDR) of proxies whose X-Forwarded-For is trusted. Default: none."
    )
    thumbnail_timeout_s: float = Field(
        6.0, gt=0, le=60, description="Time limit for a thumbnail: DNS, connection, redirects and body."
    )
    thumbnail_max_bytes: int = Field(
        8 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="Maximum size of a thumbnail as transferred."
    )
    thumbnail_max_pixels: int = Field(
        25_000_000, ge=1, le=178_000_000, description="Maximum thumbnail size, checked before decoding."
    )
    thumbnail_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that thumbnails may come from, `.example.com` with subdomains. Default: any."
    )
    thumbnail_trusted_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Private networks (CIDR) that thumbnails may be fetched from."
    )
    thumbnail_connections_per_host: int = Field(
        16, ge=1, le=64, description="Maximum number of connections to one image host, or to one address."
    )
    thumbnail_redirects: int = Field(
        5, ge=0, le=20, description="Maximum number of redirects of a thumbnail."
    )
    thumbnail_user_agent: str = Field(
        "Miles/1.0", pattern=HEADER_VALUE, description="User-Agent of requests for thumbnails."
    )
    thumbnail_headers: dict[str, dict[str, str]] = Field(
        {},
        description="More headers by host or `.suffix`, as JSON: "
        '`{".tiktokcdn.com": {"Referer": "https://www.tiktok.com/"}}`.',
    )
    thumbnail_proxy: SecretStr | None = Field(
        None,
        description="Proxy that thumbnails are fetched through, http(s)://[user:password@]host[:port]. It "
        "resolves the names, so it requires MILES_THUMBNAIL_ALLOWED_HOSTS.",
    )
    thumbnail_ttl_s: float = Field(
        300.0, ge=0, le=86_400, description="How long a thumbnail is cached before it is revalidated."
    )
    cache_bytes: int = Field(
        256 * MEBIBYTE,
        ge=0,
        le=1024 * 1024 * MEBIBYTE,
        description="Memory for cached tower outputs: 3.4 kB per text, 8.5 kB per image. 0 is off.",
    )
    shared_cache_url: SecretStr | None = Field(
        None,
        description="Valkey or Redis server where replicas share tower outputs: "
        "redis://[user:password@]host[:port][/db] or rediss://.",
    )
    shared_cache_timeout_s: float = Field(
        0.05, gt=0, le=10, description="Time limit for a shared cache lookup; after it, a miss."
    )
    shared_cache_secret: SecretStr | None = Field(
        None,
        min_length=MIN_KEY_LENGTH,
        description="Secret of at least 16 characters that all replicas share: values written to the "
        "shared cache without it are not used.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://localhost:3000", "https://*.vercel.app"),
        description="Origins of web pages that may call the service; `*` matches one or more labels.",
    )
    frame_ancestors: Annotated[tuple[str, ...], NoDecode] = Field(
        ("https://huggingface.co",),
        description="Other origins whose pages may embed this one in a frame; `*` allows any.",
    )
    youtube_api_key: SecretStr | None = Field(
        None,
        description="Key for the YouTube Data API v3; lets the page fill in the counts of a YouTube video.",
    )
    youtube_api_url: str = Field(
        "https://www.googleapis.com/youtube/v3", description="Base address of the YouTube Data API."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="One JSON object per line, or short text; `auto` is text on a terminal, JSON elsewhere.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum log level; the line per request is `info`."
    )

    @field_validator(
        "thumbnail_allowed_hosts",
        "thumbnail_trusted_networks",
        "cors_origins",
        "frame_ancestors",
        "api_keys",
        "trusted_proxies",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("thumbnail_allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        ThumbnailPolicy(allowed_hosts=hosts)  # raises ValueError for an invalid host pattern
        return hosts

    @field_validator("thumbnail_headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        ThumbnailPolicy(headers=headers)  # raises ValueError for an invalid host pattern
        for name, value in (pair for extra in headers.values() for pair in extra.items()):
            if not HEADER_NAME.fullmatch(name) or not re.fullmatch(HEADER_VALUE, value):
                raise ValueError(f"header {name!r} has characters that HTTP does not allow")
            if name.lower() in OWN_HEADERS:
                raise ValueError(f"header {name!r} is set by the service itself")
        return headers

    @field_validator("thumbnail_proxy")
    @classmethod
    def _check_proxy(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("expected http://host or https://host, optionally with user and port")
        return url

    @field_validator("youtube_api_key")
    @classmethod
    def _check_youtube_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,}", key.get_secret_value()):
            raise ValueError("expected 8 or more characters of A-Z a-z 0-9 - _")
        return key

    @field_validator("youtube_api_url")
    @classmethod
    def _check_youtube_url(cls, url: str) -> str:
        if not YOUTUBE_URL.fullmatch(url):
            raise ValueError("expected https://host/path without a final slash, a query or a user")
        return url

    @field_validator("frame_ancestors")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if any(not ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("expected origins like https://example.com, https://*.example.com or *")
        return origins

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(not TOKEN.fullmatch(key.get_secret_value()) for key in keys):
            raise ValueError(
                f"expected {MIN_KEY_LENGTH} or more characters of A-Z a-z 0-9 - . _ ~ + /, then optional ="
            )
        return keys

    @field_validator("shared_cache_url")
    @classmethod
    def _check_shared_cache(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in ("redis", "rediss") or not parts.hostname:
                raise ValueError(
                    "expected redis://host or rediss://host, optionally with user, port and database"
                )
            if importlib.util.find_spec("redis") is None:
                raise ValueError("requires the redis package: pip install -r requirements/cache.txt")
        return url

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "torch" and self.precision == "int8":
            raise ValueError(
                "MILES_PRECISION=int8 requires MILES_ENGINE=openvino; torch supports f32 and bf16"
            )
        if self.engine == "openvino" and self.precision == "exact":
            raise ValueError("MILES_PRECISION=exact requires MILES_ENGINE=torch")
        if self.thumbnail_proxy is not None and not self.thumbnail_allowed_hosts:
            raise ValueError(
                "MILES_THUMBNAIL_PROXY requires MILES_THUMBNAIL_ALLOWED_HOSTS: the proxy resolves names"
            )
        if self.engine == "openvino" and self.device == "cuda":
            raise ValueError("MILES_DEVICE=cuda requires MILES_ENGINE=torch; openvino runs on the CPU")
        return self

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the service."""
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The settings of this process. Raises `SettingsError`, also for an unknown MILES_ variable."""
        unknown = [
            _unknown(name) for name in environment if name.startswith(PREFIX) and not _is_setting(name)
        ]
        if unknown:
            raise SettingsError("\n".join(unknown))
        try:
            return cls()
        except ValidationError as exc:
            # pydantic reports a union once per member; keep one line per variable.
            lines = {error["loc"][:1]: _sentence(dict(error)) for error in exc.errors()}
            raise SettingsError("\n".join(lines.values())) from exc


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def _is_setting(name: str) -> bool:
    return name.removeprefix(PREFIX).lower() in Settings.model_fields


def _unknown(name: str) -> str:
    names = [variable(field) for field in Settings.model_fields]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"valid settings: {', '.join(names)}."
    return f"{name}: unknown setting; {hint}"


def _sentence(error: dict[str, Any]) -> str:
    if not error["loc"]:  # settings that contradict each other; the message names them
        return f"{error['msg'].removeprefix('Value error, ')}."
    field = str(error["loc"][0])
    value = "(hidden)" if field in SECRETS else repr(error["input"])
    return f"{variable(field)}={value}: {error['msg'][0].lower()}{error['msg'][1:]}."
