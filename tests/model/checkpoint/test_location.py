"""Checkpoint locations: paths stay paths, hub addresses are checked before anything is downloaded."""

import os
import sys
from pathlib import Path

import pytest

from model.checkpoint.file import LocationError, locate_checkpoint, parse_hub_location
from tests.model.checkpoint.file_hub import COMMIT, file_hub
from tests.support.process import completed


def test_a_local_path_is_itself():
    """Anything that is not a hub address is a path, whether it exists or not."""
    paths = ["models/model_full.pt", "/a/b@c.pt", "hf:/owner/repo/file", "x"]
    assert [locate_checkpoint(path) for path in paths] == [Path(path) for path in paths]


def test_an_incomplete_hub_address_says_what_it_needs():
    """A hub address without owner, repository or file is refused with the expected form."""
    rest = ["", "owner", "owner/repo", "owner/repo/", "/repo/file", "owner//file", "@v1"]
    expected = "expected hf://owner/repo/file, with @revision if wanted"
    for location in [f"hf://{part}" for part in rest]:
        with pytest.raises(LocationError, match=expected) as caught:
            locate_checkpoint(location)
        assert str(caught.value).startswith(location)


def test_a_hub_address_is_repository_file_and_revision():
    """The first two parts name the repository, the rest the file, and what follows @ the revision."""
    expected = {
        "hf://owner/repo/model.pt": ("owner/repo", "model.pt", None),
        "hf://owner/repo/a/b/model.pt@v1.0": ("owner/repo", "a/b/model.pt", "v1.0"),
        "hf://owner/repo/model.pt@": ("owner/repo", "model.pt", None),
        "hf://owner/repo/model.pt@refs/pr/3": ("owner/repo", "model.pt", "refs/pr/3"),
    }
    assert {location: parse_hub_location(location) for location in expected} == expected


def test_an_impossible_repository_name_is_one_clear_error():
    """A name that the hub's own rules exclude is refused with the address and what to check."""
    with pytest.raises(LocationError, match=r"hf://own er/re po/m\.pt: cannot be downloaded .* HF_TOKEN"):
        locate_checkpoint("hf://own er/re po/m.pt")


def located(address: str, hub: str, cache: Path) -> Path:
    """The path that `address` becomes in a process with this hub and an empty cache."""
    script = (
        "import sys; from model.checkpoint.file import locate_checkpoint; "
        "print(locate_checkpoint(sys.argv[1]))"
    )
    done = completed(
        [sys.executable, "-c", script, address],
        env=os.environ | {"HF_ENDPOINT": hub, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"},
        check=True,
    )
    return Path(done.stdout.strip())


@pytest.mark.parametrize("folder", ["", "a/b/"])
def test_a_file_on_the_hub_brings_its_statistics(tmp_path, folder):
    """They are stored next to it, from the same commit, where the checkpoint's reader looks for them."""
    files = {f"{folder}model_full.pt": b"weights", f"{folder}model_full.stats.json": b"{}"}
    with file_hub("owner/repo", files) as hub:
        path = located(f"hf://owner/repo/{folder}model_full.pt", hub, tmp_path)
    assert path.read_bytes() == b"weights"
    assert path.with_suffix(".stats.json").read_bytes() == b"{}"
    assert COMMIT in path.parts


def test_a_file_on_the_hub_needs_no_statistics(tmp_path):
    """Most checkpoints contain theirs; a missing statistics file is not an error."""
    with file_hub("owner/repo", {"model_full.pt": b"weights"}) as hub:
        path = located("hf://owner/repo/model_full.pt@v1", hub, tmp_path)
    assert path.read_bytes() == b"weights"
    assert not path.with_suffix(".stats.json").exists()
