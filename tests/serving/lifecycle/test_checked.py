"""A start does not re-read a checkpoint that is unchanged since an earlier start."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from model.checkpoint.file import CTIME_STEP_NS, FileState, check_file, hash_ahead, sha256_of
from model.compile.__main__ import compile_checkpoint
from model.compiled.files import CHECKED, MANIFEST, bundle_directory, recall, remember
from serving.lifecycle.head_start import files_to_hash
from serving.lifecycle.loading import NotCompiledError, load_model
from serving.settings import Settings

MEBIBYTE = bytes(2**20)


@pytest.fixture(scope="module")
def settled(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its bundle, loaded once, and other files, all written long enough ago."""
    folder = Path(shutil.copytree(tiny_path.parent, tmp_path_factory.mktemp("settled") / "models"))
    for name in ("changed.pt", "unchanged.pt", "rewritten.pt"):
        (folder / name).write_bytes(MEBIBYTE)
    time.sleep(CTIME_STEP_NS / 1e9 + 0.1)
    load(folder / tiny_path.name)
    return folder / tiny_path.name


def bytes_read() -> int:
    """The number of bytes that this process has read from files."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def load(path: Path, pin: str | None = None) -> int:
    """Load the model at `path`; return the number of bytes read for it."""
    before = bytes_read()
    load_model(Settings(checkpoint=str(path), checkpoint_sha256=pin, precision="f32", threads=1))
    return bytes_read() - before


def change_in_place(path: Path) -> None:
    """Write other contents of the same size, and keep the modification time."""
    times = path.stat()
    path.write_bytes(MEBIBYTE[:-1] + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_an_unchanged_checkpoint_is_not_read(settled: Path) -> None:
    """Without the note of the earlier start it is."""
    known = load(settled)
    for note in settled.parent.glob(f"compiled/*/{CHECKED}"):
        note.unlink()
    assert load(settled) > known + settled.stat().st_size


def test_a_pinned_checkpoint_is_always_read(settled: Path) -> None:
    """Every byte must match the digest that the operator pinned."""
    assert load(settled, check_file(settled, None)) > load(settled) + settled.stat().st_size


def test_a_manifest_that_was_edited_since_is_not_served(settled: Path) -> None:
    """Its card is compared with the checkpoint's, though the checkpoint has not changed."""
    manifest = bundle_directory(settled, check_file(settled, None)) / MANIFEST
    before = manifest.read_text()
    values = json.loads(before)
    values["card"]["velocity"]["mean"] += 5
    manifest.write_text(json.dumps(values))
    with pytest.raises(NotCompiledError):
        load(settled)
    manifest.write_text(before)
    load(settled)


def test_a_damaged_bundle_that_was_checked_is_compiled_again(settled: Path) -> None:
    """Like any other damaged bundle; the note is removed with it."""
    load(settled)
    bundle = bundle_directory(settled, check_file(settled, None))
    (bundle / "fusion.bin").write_bytes(b"")
    compile_checkpoint(settled, precision="f32", threads=1)
    assert (load(settled) > 0, (bundle / CHECKED).exists()) == (True, True)


def test_a_file_that_was_changed_in_place_is_not_recalled(settled: Path) -> None:
    path = settled.with_name("changed.pt")
    state = FileState.of(path)
    remember(bundle_directory(settled, check_file(settled, None)), state, "a" * 64, "b" * 64)
    kept = recall(path, state)
    change_in_place(path)
    assert (kept and kept.checkpoint_sha256, recall(path, FileState.of(path))) == ("a" * 64, None)


def test_a_file_that_has_just_been_written_is_not_remembered(tmp_path: Path) -> None:
    """It could change again without a new ctime."""
    path, bundle = tmp_path / "model.pt", tmp_path / "compiled" / "0123"
    bundle.mkdir(parents=True)
    path.write_bytes(b"first")
    remember(bundle, FileState.of(path), "a" * 64, "b" * 64)
    assert recall(path, FileState.of(path)) is None


def test_a_damaged_note_is_ignored_and_written_again(settled: Path) -> None:
    """It costs one start the time that an intact note would have saved."""
    load(settled)
    note = bundle_directory(settled, check_file(settled, None)) / CHECKED
    intact = note.read_text()
    note.write_text(intact[:40])
    load(settled)
    assert note.read_text() == intact


def test_a_file_that_was_hashed_ahead_is_read_once(settled: Path) -> None:
    path = settled.with_name("unchanged.pt")
    hash_ahead([path])
    before = bytes_read()
    assert (sha256_of(path), bytes_read() - before < len(MEBIBYTE)) == (
        hashlib.sha256(MEBIBYTE).hexdigest(),
        True,
    )


def test_a_file_that_changes_after_it_was_hashed_ahead_is_hashed_again(settled: Path) -> None:
    path = settled.with_name("rewritten.pt")
    hash_ahead([path])
    change_in_place(path)
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_hashed_ahead_is_what_a_start_reads(settled: Path) -> None:
    """The graphs of a known bundle; the checkpoint if it is pinned or its bundle is unknown."""
    load(settled)
    bundle = bundle_directory(settled, check_file(settled, None))
    graphs = [bundle / "fusion.bin", bundle / "image.bin", bundle / "text.bin"]
    assert files_to_hash(bundle, pinned=False) == graphs
    assert files_to_hash(settled, pinned=False) == graphs
    assert files_to_hash(settled, pinned=True) == [settled]
    assert files_to_hash(settled.with_name("unchanged.pt"), pinned=False) == [
        settled.with_name("unchanged.pt")
    ]
