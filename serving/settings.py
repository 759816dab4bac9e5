"""Every setting: an environment variable with the prefix MILES_, its range, and one sentence about it."""

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

from preprocessing.thumbnails.fetcher import ThumbnailPolicy

PREFIX = "MILES_"
Network = IPv4Network | IPv6Network
MEBIBYTE = 1024 * 1024
SHORTEST_KEY = 16  # a shorter one can be guessed over the network
TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{{SHORTEST_KEY},}}=*")  # what a header may carry: RFC 6750, 2.1
ORIGIN = re.compile(r"\*|https?://(\*\.)?[A-Za-z0-9.-]+(:[0-9]{1,5})?")  # a header carries it, so no ; in it


SECRETS = ("api_keys", "shared_cache_url")


class SettingsError(Exception):
    """Settings that cannot be used: one line per setting, naming it, its value and what is expected."""


class Settings(BaseSettings):
    """The service's settings. Lists are written with commas: `MILES_CORS_ORIGINS=https://a.com,https://b.com`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    checkpoint: str = Field(
        "models/model_full.pt",
        min_length=1,
        description="The checkpoint: a file, a bundle's directory, or hf://owner/repo/file[@revision].",
    )
    checkpoint_sha256: str | None = Field(
        None, pattern="^[0-9a-fA-F]{64}$", description="Refuse a checkpoint whose sha256 is another one."
    )
    host: str = Field("0.0.0.0", description="The address to listen on.")  # noqa: S104 a container is reached from outside
    port: int = Field(7860, ge=1, le=65535, description="The port to listen on.")
    engine: Literal["openvino", "torch"] = Field(
        "openvino", description="What runs the network: the compiled bundle, or PyTorch (reference, GPU)."
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        "auto",
        description="Arithmetic of the towers; `auto` is the fastest that passes the fidelity gate "
        "(torch: bf16 on a GPU, f32 on a CPU; it has no int8).",
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the torch engine runs.")
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Threads of one forward; by default what affinity and the cgroup quota allow.",
    )
    max_batch_size: int = Field(8, ge=1, le=256, description="The most videos in one forward of a tower.")
    max_request_bytes: int = Field(
        16 * MEBIBYTE, ge=1024, le=1024 * MEBIBYTE, description="The largest request body; more is a 413."
    )
    max_queue_size: int = Field(
        320,
        ge=1,
        le=100_000,
        description="The most videos that may wait for their scores; more get a 503 with Retry-After.",
    )
    receive_timeout_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="A client has so long for a request's head, and so long again for its body.",
    )
    request_timeout_s: float = Field(
        20.0, gt=0, le=600, description="From a request's arrival to its answer; then a 504."
    )
    forward_timeout_s: float = Field(
        10.0,
        gt=0,
        le=600,
        description="One forward of the network may take so long; then the process ends, for its supervisor.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="If given, scores need `Authorization: Bearer` and one of these; else 401."
    )
    rate_limit: int = Field(
        0, ge=0, le=1_000_000, description="Videos per client and minute; more get a 429. 0 is off."
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Networks (CIDR) whose X-Forwarded-For says who the client is; by default nobody's."
    )
    thumbnail_timeout_s: float = Field(
        6.0,
        gt=0,
        le=60,
        description="One deadline for resolving, connecting, redirects and body of a thumbnail.",
    )
    thumbnail_max_bytes: int = Field(
        8 * MEBIBYTE,
        ge=1024,
        le=1024 * MEBIBYTE,
        description="The largest thumbnail, in bytes as they arrive.",
    )
    thumbnail_max_pixels: int = Field(
        25_000_000,
        ge=1,
        le=178_000_000,
        description="The largest thumbnail, in pixels, checked before decoding.",
    )
    thumbnail_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="If given, the only hosts for thumbnails; `.example.com` means every host below it.",
    )
    thumbnail_trusted_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Networks (CIDR) that thumbnails may come from although they are private."
    )
    thumbnail_ttl_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="For so long a URL's picture counts as unchanged; then the host is asked whether it is.",
    )
    cache_bytes: int = Field(
        256 * MEBIBYTE,
        ge=0,
        le=1024 * 1024 * MEBIBYTE,
        description="Memory for tower outputs: a known text costs 3.4 kB, a known picture 8.5 kB; 0 is off.",
    )
    shared_cache_url: SecretStr | None = Field(
        None,
        description="A Valkey or Redis server where replicas share tower outputs: "
        "redis://[user:password@]host[:port][/db] or rediss://; by default none.",
    )
    shared_cache_timeout_s: float = Field(
        0.05, gt=0, le=10, description="A request waits so long for the shared cache, then computes itself."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("http://localhost:3000", "https://*.vercel.app"),
        description="Web pages of these origins may call the service; `*` stands for one or more labels.",
    )
    frame_ancestors: Annotated[tuple[str, ...], NoDecode] = Field(
        ("https://huggingface.co",),
        description="Origins whose pages may show ours in a frame, besides our own; `*` is any.",
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="One JSON object per line, or lines for people."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least of what is logged; the line per request is `info`."
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
        ThumbnailPolicy(allowed_hosts=hosts)  # raises ValueError for what is no host pattern
        return hosts

    @field_validator("frame_ancestors")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if any(not ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is like https://example.com, https://*.example.com or *")
        return origins

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(not TOKEN.fullmatch(key.get_secret_value()) for key in keys):
            raise ValueError(f"a key is {SHORTEST_KEY} or more of A-Z a-z 0-9 - . _ ~ + / and = at its end")
        return keys

    @field_validator("shared_cache_url")
    @classmethod
    def _check_shared_cache(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in ("redis", "rediss") or not parts.hostname:
                raise ValueError(
                    "expected redis://host or rediss://host, perhaps with a user, port and database"
                )
            if importlib.util.find_spec("redis") is None:
                raise ValueError("needs a package: pip install -r requirements/cache.txt")
        return url

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "torch" and self.precision == "int8":
            raise ValueError("MILES_PRECISION=int8 needs MILES_ENGINE=openvino; torch runs f32 and bf16")
        if self.engine == "openvino" and self.device == "cuda":
            raise ValueError("MILES_DEVICE=cuda needs MILES_ENGINE=torch; the compiled graphs run on a CPU")
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """The settings of this process. Raises `SettingsError`, also for a MILES_ variable that is none."""
        unknown = [
            _unknown(name) for name in environment if name.startswith(PREFIX) and not _is_setting(name)
        ]
        if unknown:
            raise SettingsError("\n".join(unknown))
        try:
            return cls()
        except ValidationError as exc:
            # A value of a union is refused once per member; one line per variable says it all.
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
    hint = f"did you mean {close[0]}?" if close else f"the settings are {', '.join(names)}."
    return f"{name}: no such setting; {hint}"


def _sentence(error: dict[str, Any]) -> str:
    if not error["loc"]:  # settings that do not fit together; the message names them
        return f"{error['msg'].removeprefix('Value error, ')}."
    field = str(error["loc"][0])
    value = "(not shown)" if field in SECRETS else repr(error["input"])
    return f"{variable(field)}={value}: {error['msg'][0].lower()}{error['msg'][1:]}."
