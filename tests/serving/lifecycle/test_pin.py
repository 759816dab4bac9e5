"""A pinned model: neither the checkpoint nor the bundle made from it can be replaced unnoticed."""

import json
import shutil
from pathlib import Path

import pytest

from model.checkpoint.file import CheckpointError, check_file
from model.compiled.bundle import check_card, read_bundle
from model.compiled.files import MANIFEST, bundle_directory
from serving.lifecycle.loading import NotCompiledError, load_model
from serving.settings import Settings


def copied(tiny_path: Path, folder: Path) -> Path:
    """A copy of the tiny checkpoint with its bundle, to be changed."""
    shutil.copytree(tiny_path.parent, folder / "copy")
    return folder / "copy" / tiny_path.name


def test_an_edited_manifest_is_not_served(tiny_path: Path, tmp_path: Path) -> None:
    """A bundle whose card differs from the pinned checkpoint's is not current, whatever else it says."""
    path = copied(tiny_path, tmp_path)
    digest = check_file(path, None)
    settings = Settings(checkpoint=str(path), checkpoint_sha256=digest, precision="f32", threads=1)
    load_model(settings)
    manifest = bundle_directory(path, digest) / MANIFEST
    text = manifest.read_text()
    values = json.loads(text)
    values["card"]["velocity"]["mean"] += 5
    manifest.write_text(json.dumps(values))
    with pytest.raises(NotCompiledError):
        load_model(settings)
    with pytest.raises(CheckpointError, match=r"differs from .* in velocity"):
        check_card(read_bundle(manifest.parent), path)


def test_a_bundle_may_be_pinned_too(tiny_path: Path, tmp_path: Path) -> None:
    """/model/info gives its digest; another digest is refused, and the error names both."""
    path = copied(tiny_path, tmp_path)
    directory = bundle_directory(path, check_file(path, None))
    for checkpoint in (path, directory):
        settings = Settings(checkpoint=str(checkpoint), precision="f32", threads=1)
        digest = load_model(settings).bundle_sha256
        assert digest is not None
        load_model(settings.model_copy(update={"bundle_sha256": digest.upper()}))
        with pytest.raises(CheckpointError, match=f"is {digest}, expected {'0' * 64}"):
            load_model(settings.model_copy(update={"bundle_sha256": "0" * 64}))
