"""Where the checkpoint file is: a path on disk, or `hf://owner/repo/file` on the Hugging Face hub."""

from contextlib import suppress
from pathlib import Path, PurePosixPath

HUB = "hf://"
SIDECAR = ".stats.json"


class LocationError(Exception):
    """A checkpoint location that cannot be followed: names it, the cause and the next step."""


def locate_checkpoint(location: str) -> Path:
    """The local path of `location`; a file on the hub is downloaded once and kept in the hub's cache.

    `hf://owner/repo/path/in/repo@revision`; without a revision, the newest. If the repository has statistics
    beside the file (`model_full.stats.json`), they lie beside it here, too. Raises `LocationError`.
    """
    if not location.startswith(HUB):
        return Path(location)
    repository, filename, revision = parse_hub_location(location)
    from huggingface_hub import hf_hub_download  # imported on demand: a local file needs no hub client
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        path = Path(hf_hub_download(repository, filename, revision=revision))
        commit = path.parents[filename.count("/")].name  # the hub's cache has a folder per commit
        with suppress(EntryNotFoundError):  # most files need none
            hf_hub_download(repository, str(PurePosixPath(filename).with_suffix(SIDECAR)), revision=commit)
    except (HfHubHTTPError, OSError, ValueError) as exc:
        raise LocationError(
            f"{location}: cannot be downloaded ({type(exc).__name__}). Check the name, the network and, "
            "for a private repository, HF_TOKEN."
        ) from exc
    return path


def parse_hub_location(location: str) -> tuple[str, str, str | None]:
    """Repository, file and revision of an `hf://` address. Raises `LocationError`."""
    path, _, revision = location.removeprefix(HUB).partition("@")
    parts = path.split("/")
    if len(parts) < 3 or not all(parts):
        raise LocationError(f"{location}: expected hf://owner/repo/file, with @revision if wanted")
    return "/".join(parts[:2]), "/".join(parts[2:]), revision or None
