"""Bad model files, each given to `python app.py` as an operator would: one clear line, no code run."""

import io
import json
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint.store import write_checkpoint
from model.compile.__main__ import compile_checkpoint
from tests.hostile.conftest import Record
from tests.model.checkpoint.test_broken_files import BROKEN_FILES, RunsCode, saved, weights
from tests.model.small import contents, small_state
from tests.support.service import run_to_end
from tests.support.tiny import tiny_checkpoint, write_tiny

pytestmark = pytest.mark.hostile

# Those of the tests of reading a file that a start must survive too.
READ = [
    "empty",
    "an LFS pointer",
    "truncated",
    "text",
    "another zip",
    "a plain pickle",
    "a list",
    "a key too few",
    "a key too many",
    "a wrong shape",
    "NaN weights",
    "weights of one number",
    "too few scalar names",
    "a velocity of no known kind",
]
PROMISED = 14
UNKNOWN = "shares_per_moon"


class Folder:
    """Where one bad file is made, and the file that must not appear."""

    def __init__(self, path: Path, good: Path) -> None:
        """`good` is a compiled bundle that stays as it is."""
        self.path = path / "model_full.pt"
        self.canary = path / "canary"
        self.settings: dict[str, object] = {"precision": "f32"}

        self._good = good

    def bundle(self) -> Path:
        return Path(shutil.copytree(self._good, self.path.parent / "bundle"))


def missing(folder: Folder) -> Path:
    return folder.path


def directory(folder: Folder) -> Path:
    folder.path.mkdir()
    return folder.path


def another_digest(folder: Folder) -> Path:
    folder.settings["checkpoint_sha256"] = "0" * 64
    return write_tiny(folder.path)


def unknown_feature(folder: Folder) -> Path:
    good = tiny_checkpoint()
    first, *others = good.card.scalar_features
    stats = {name if name != first else UNKNOWN: values for name, values in good.card.feature_stats.items()}
    write_checkpoint(folder.path, good.with_card(scalar_features=(UNKNOWN, *others), feature_stats=stats))
    return folder.path


def no_statistics(folder: Folder) -> Path:
    """A bare state dict without the file of statistics beside it."""
    folder.path.write_bytes(saved(weights()))
    return folder.path


def running_pickle(folder: Folder) -> Path:
    """torch.save of something that creates a file when it is loaded carelessly."""
    folder.path.write_bytes(saved(contents(provenance={"x": RunsCode(folder.canary)})))
    return folder.path


def bare_running_pickle(folder: Folder) -> Path:
    """The same without torch around it."""
    folder.path.write_bytes(pickle.dumps(RunsCode(folder.canary)))
    return folder.path


def zip_bomb(folder: Folder) -> Path:
    """A checkpoint's archive whose pickle unfolds from a megabyte to a gigabyte."""
    good = io.BytesIO(saved(contents(model_state_dict=dict(small_state(with_vision=False)))))
    with zipfile.ZipFile(good) as whole, zipfile.ZipFile(folder.path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in whole.namelist():
            content = whole.read(member)
            bomb.writestr(member, bytes(10**9) if member.endswith("data.pkl") else content)
    return folder.path


def manifest_of(*changes: Callable[[dict[str, Any]], None]) -> Callable[[Folder], Path]:
    def make(folder: Folder) -> Path:
        manifest = folder.bundle() / "bundle.json"
        values = json.loads(manifest.read_text(encoding="utf-8"))
        for change in changes:
            change(values)
        manifest.write_text(json.dumps(values), encoding="utf-8")
        return manifest.parent

    return make


def cut_manifest(folder: Folder) -> Path:
    manifest = folder.bundle() / "bundle.json"
    manifest.write_bytes(manifest.read_bytes()[:1000])
    return manifest.parent


def cut_graph(folder: Folder) -> Path:
    """A graph's weights that end in the middle."""
    graph = folder.bundle() / "text.bin"
    graph.write_bytes(graph.read_bytes()[:1000])
    return graph.parent


def no_graph(folder: Folder) -> Path:
    bundle = folder.bundle()
    (bundle / "fusion.xml").unlink()
    return bundle


MADE: dict[str, tuple[Callable[[Folder], Path], str]] = {
    "missing": (missing, "no such file. Run `make model`"),
    "directory": (directory, "is a directory, expected a file"),
    "wrong sha256": (another_digest, "expected " + "0" * 64),
    "unknown feature": (unknown_feature, UNKNOWN),
    "no statistics": (no_statistics, "lacks scalar_features, feature_stats, velocity"),
    "pickle that runs code": (
        running_pickle,
        "which only code could rebuild, and a file's code is never run",
    ),
    "bare pickle that runs code": (bare_running_pickle, "not a torch.save file"),
    "zip bomb": (zip_bomb, "is truncated or not a torch.save file"),
    "bundle.json cut": (cut_manifest, "bundle.json: cannot be read"),
    "bundle.json of another format": (manifest_of(lambda values: values.update(format=9)), "format is 9"),
    "bundle.json without a card": (manifest_of(lambda values: values.pop("card")), "lacks card"),
    "bundle without a graph": (no_graph, "fusion.xml cannot be read"),
    "graph cut": (cut_graph, "text.bin: sha256 is"),
}
CASES = [*READ, *MADE]


def make(case: str, folder: Folder) -> tuple[Path, str]:
    """The bad file, and what the line says of it."""
    if case in MADE:
        maker, sentence = MADE[case]
        return maker(folder), sentence
    content, sentence = BROKEN_FILES[case]
    folder.path.write_bytes(content())
    return folder.path, sentence


def complaint(ended: subprocess.CompletedProcess[str], sentence: str, canary: Path) -> str | None:
    """What is wrong with the way in which the process ended; None where nothing is."""
    if ended.returncode != 1:
        return f"exit status {ended.returncode}"
    last = ended.stderr.strip().rpartition("\n")[2]  # compiling has told its steps before
    if sentence not in last:
        return f"says {last[-300:]!r}"
    if "Traceback" in ended.stdout + ended.stderr:
        return "a traceback in the log"
    return "its code ran" if canary.exists() else None


def test_bad_model_files(promise: Record, tmp_path: Path) -> None:
    good = compile_checkpoint(write_tiny(tmp_path / "good.pt"), precision="f32", threads=1).directory
    wrong = {}
    for number, case in enumerate(CASES):
        place = tmp_path / str(number)
        place.mkdir()
        folder = Folder(place, good)
        path, sentence = make(case, folder)
        found = complaint(run_to_end(checkpoint=path, **folder.settings), sentence, folder.canary)
        if found:
            wrong[case] = found
    told = "; ".join(f"{case}: {found}" for case, found in wrong.items())
    figure = f"{len(CASES) - len(wrong)} of {len(CASES)} one clear line, no code run" + (told and f"; {told}")
    promise("model files", figure=figure, kept=not wrong and len(CASES) >= PROMISED)
