"""The checkpoint file before it is read: its location, whether it is complete, its sha256."""

import hashlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

HUB = "hf://"
SIDECAR_SUFFIX = ".stats.json"
LFS_MAGIC = b"version https://git-lfs"


class CheckpointError(Exception):
    """A checkpoint that cannot be used: one line with the file, both values and the next step."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def check_file(path: Path, expected_sha256: str | None) -> str:
    """The sha256 of a file that may be a checkpoint. Raises `CheckpointError` for anything else."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a directory, expected a file; name the .pt file in it")
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Run `make model` for the demo, or bring your own.")
        if not path.is_file():
            raise CheckpointError(f"{path}: is a device or a pipe, expected a file; name the .pt file")
        with path.open("rb") as file:
            head = file.read(len(LFS_MAGIC))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read ({exc.strerror}); check its permissions") from exc
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes). Download or train it again.")
    if head == LFS_MAGIC:
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights. Run `git lfs pull`.")
    if expected_sha256 and digest != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: sha256 is {digest}, expected {expected_sha256}. Download it again, or correct "
            "MILES_CHECKPOINT_SHA256."
        )
    return digest


class LocationError(Exception):
    """A checkpoint that cannot be located or downloaded; names the location, the cause and the next step."""


def locate_checkpoint(location: str) -> Path:
    """The local path of `location`; a file on the hub is downloaded once, into the hub's cache.

    A hub address is `hf://owner/repo/path/in/repo@revision`; the default revision is the newest. The file's
    sidecar is downloaded too if there is one. Raises `LocationError`.
    """
    if not location.startswith(HUB):
        return Path(location)
    repository, filename, revision = parse_hub_location(location)
    from huggingface_hub import hf_hub_download  # lazily: a local file needs no hub client
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        path = Path(hf_hub_download(repository, filename, revision=revision))
        commit = path.parents[filename.count("/")].name  # the hub's cache has a folder per commit
        with suppress(EntryNotFoundError):  # most files have none
            sidecar = str(PurePosixPath(filename).with_suffix(SIDECAR_SUFFIX))
            hf_hub_download(repository, sidecar, revision=commit)
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
