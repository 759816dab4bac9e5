"""The checkpoint file before it is read: its location, its format, whether it is complete, its sha256."""

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

HUB = "hf://"
DEFAULT_CHECKPOINT = Path("models/model_full.pt")
DEMO_DIRECTORY = Path(__file__).parents[2] / "models" / "demo"
ENCODER_FOLDER = DEMO_DIRECTORY.parent / "text-encoder"  # of the demo, which is downloaded once
SIDECAR_SUFFIX = ".stats.json"
HEAD_BYTES = 512
TAIL_BYTES = 2**20
HASHED_AT_ONCE = 2**24
CTIME_STEP_NS = 2_000_000_000  # the largest of any file system
TORCH_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of torch's format before zips
RESAVE = 'torch.save({"model_state_dict": model.state_dict()}, "model_full.pt")'
# What other files begin with (at an offset), what they are, and the next step.
OTHER_FORMATS = (
    (0, b"version https://git-lfs", "is a Git LFS pointer, not the weights. Run `git lfs pull`."),
    (0, b"\x1f\x8b", "is compressed by gzip. Unpack it with gunzip."),
    (257, b"ustar", "is a tar archive. Unpack it, and name the .pt file in it."),
    (0, b"\x89HDF", f"is an HDF5 file, as Keras writes. Save the PyTorch model: {RESAVE}."),
    (2, b"\x12\x07pytorch", f"is an ONNX graph. Save the PyTorch model that it was exported from: {RESAVE}."),
)


class CheckpointError(Exception):
    """A checkpoint that cannot be used: one line with the file, both values and the next step."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def check_file(path: Path, expected_sha256: str | None) -> str:
    """The sha256 of a file that may be a checkpoint. Raises `CheckpointError` for anything else."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a directory, {_directory(path)}")
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Run `make model` for the demo, or bring your own.")
        if not path.is_file():
            raise CheckpointError(f"{path}: is a device or a pipe, expected a file; name the .pt file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        digest = sha256_of(path)
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read ({exc.strerror}); check its permissions") from exc
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes). Download or train it again.")
    check_format(path, head)
    if expected_sha256 and digest != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: sha256 is {digest}, expected {expected_sha256}. Download it again, or correct "
            "MILES_CHECKPOINT_SHA256."
        )
    return digest


class FileState(NamedTuple):
    """What the file system says about a file; two equal states, once settled, mean equal contents."""

    device: int
    inode: int
    size: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState | None":
        """The state of the file at `path` now; None if there is no file."""
        try:
            found = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns)

    @property
    def is_settled(self) -> bool:
        """Whether another change would give a different `ctime`."""
        return time.time_ns() - self.ctime_ns > CTIME_STEP_NS


_hashed: dict[Path, tuple[FileState, str]] = {}


def hash_ahead(paths: Iterable[Path]) -> None:
    """Hash, once each, files that `sha256_of` will be asked for; unreadable files are left to it."""
    for path in paths:
        state = FileState.of(path)
        if state is not None and state.is_settled:
            with suppress(OSError):
                _hashed[path] = state, _hash(path)


def sha256_of(path: Path) -> str:
    """The sha256 of a file. Raises `OSError`."""
    state, digest = _hashed.pop(path, (None, ""))
    return digest if state is not None and state == FileState.of(path) else _hash(path)


def _hash(path: Path) -> str:
    """The sha256 of a file.

    `hashlib.file_digest` reads 256 KiB at a time and waits for the interpreter lock before each read. While
    another thread imports modules, that takes ten times as long as the hashing.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        block = memoryview(bytearray(min(HASHED_AT_ONCE, os.fstat(file.fileno()).st_size + 1)))
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def check_format(path: Path, head: bytes) -> None:
    """Raises `CheckpointError` for a file in a format other than torch.save's, by its first bytes."""
    for offset, magic, what in OTHER_FORMATS:
        if head[offset:].startswith(magic):
            raise CheckpointError(f"{path}: {what}")
    # The length of a safetensors header may begin as a pickle does.
    if head[:1] == b"\x80" and not head.startswith(TORCH_PICKLE) and not is_safetensors(path):
        raise CheckpointError(
            f"{path}: is not a torch.save file but another pickle, which only code could read, and a file's "
            f"code is never run. Load it where it was written, and save the network: {RESAVE}."
        )
    if head[:2] == b"PK" and _is_torchscript(path):
        raise CheckpointError(
            f"{path}: is a TorchScript archive, whose weights belong to compiled code. Save them: "
            f"model = torch.jit.load({path.name!r}), then {RESAVE}."
        )


def is_safetensors(path: Path) -> bool:
    """Whether the file is in the safetensors format: the length of a JSON object, and the object."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and 0 < int.from_bytes(head[:8], "little") < path.stat().st_size


def _is_torchscript(path: Path) -> bool:
    """Whether a zip file, which ends with the names of its members, was written by torch.jit.save."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        return b"/constants.pkl" in file.read()


def _directory(path: Path) -> str:
    """What to do with a directory, in words."""
    if (path / "config.json").exists():
        return (
            "a Hugging Face model, which is an encoder without the trained head; name the .pt file, or train "
            f"a head on it with `./miles train DATA --text-encoder {path}`"
        )
    return "expected a file; name the .pt file in it"


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
