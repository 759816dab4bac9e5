"""Bad model files, each given to `python app.py` as an operator would: one clear line, no code run."""

import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from model.checkpoint.store import write_checkpoint
from tests.hostile.conftest import Record
from tests.model.checkpoint.test_broken_files import BROKEN_FILES, RunsCode, saved
from tests.model.small import contents
from tests.support.service import run_to_end
from tests.support.tiny import tiny_checkpoint

pytestmark = pytest.mark.hostile

# Broken files from the tests of reading a checkpoint, which a start must survive too.
READ = (
    *("empty", "an LFS pointer", "truncated", "text", "another zip", "a plain pickle", "a list"),
    *("a missing key", "an unknown key", "a wrong shape", "NaN weights", "weights of one number"),
    *("too few scalar names", "an unknown kind of velocity"),
)
PROMISED = 14
UNKNOWN = "shares_per_moon"
CANARY = "canary"


def unknown_feature(path: Path, _: Path) -> None:
    good = tiny_checkpoint()
    first, *others = good.card.scalar_features
    stats = {name if name != first else UNKNOWN: values for name, values in good.card.feature_stats.items()}
    write_checkpoint(path, good.with_card(scalar_features=(UNKNOWN, *others), feature_stats=stats))


def running_pickle(path: Path, _: Path) -> None:
    """torch.save of something that creates a file when it is unpickled."""
    path.write_bytes(saved(contents(provenance={"x": RunsCode(path.with_name(CANARY))})))


def bare_running_pickle(path: Path, _: Path) -> None:
    """The same without torch around it."""
    path.write_bytes(pickle.dumps(RunsCode(path.with_name(CANARY))))


def cut_graph(path: Path, bundle: Path) -> None:
    """A compiled bundle in which the weights of one graph are cut off."""
    graph = Path(shutil.copytree(bundle, path)) / "text.bin"
    graph.write_bytes(graph.read_bytes()[:1000])


MADE: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "unknown feature": (unknown_feature, UNKNOWN),
    "pickle that runs code": (running_pickle, "only code could rebuild, and a file's code is never run"),
    "bare pickle that runs code": (bare_running_pickle, "not a torch.save file"),
    "graph cut": (cut_graph, "text.bin: sha256 is"),
}


def complaint(ended: subprocess.CompletedProcess[str], sentence: str, canary: Path) -> str | None:
    """What is wrong with how the process ended, or None."""
    if ended.returncode != 1:
        return f"exit status {ended.returncode}"
    last = ended.stderr.strip().rpartition("\n")[2]  # compiling logs its steps before it
    if sentence not in last:
        return f"says {last[-300:]!r}"
    if "Traceback" in ended.stdout + ended.stderr:
        return "a traceback in the log"
    return "its code ran" if canary.exists() else None


def test_bad_model_files(promise: Record, tiny_bundle: Path, tmp_path: Path) -> None:
    wrong, cases = {}, (*READ, *MADE)
    for number, case in enumerate(cases):
        path = tmp_path / str(number) / "model_full.pt"
        path.parent.mkdir()
        if case in MADE:
            make, sentence = MADE[case]
            make(path, tiny_bundle)
        else:
            content, sentence = BROKEN_FILES[case]
            path.write_bytes(content())
        if found := complaint(run_to_end(checkpoint=path, precision="f32"), sentence, path.with_name(CANARY)):
            wrong[case] = found
    told = "; ".join(f"{case}: {found}" for case, found in wrong.items())
    figure = f"{len(cases) - len(wrong)} of {len(cases)} one clear line, no code run" + (told and f"; {told}")
    promise("model files", figure=figure, kept=not wrong and len(cases) >= PROMISED)
