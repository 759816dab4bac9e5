"""Begins to load the model before the modules that serve it are imported.

Importing keeps one core busy for a second. Meanwhile another hashes the model's files, then compiles its
graphs. So this module imports only what it needs to find the files.
"""

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoint.file import FileState, hash_ahead
from model.compiled.files import bundle_directory, is_bundle, recall
from serving.settings import Settings, SettingsError

if TYPE_CHECKING:
    from serving.scoring.model import LoadedModel

Loader = Callable[[Settings, bool], "LoadedModel"]
"""`load`, or a stand-in for it; the bool is `beside_another`. Called in the engine's thread."""


def load(settings: Settings, beside_another: bool = False) -> "LoadedModel":
    """`load_checked`, imported when it is called."""
    from serving.lifecycle.loading import load_checked

    return load_checked(settings, beside_another)


def begin_first() -> Loader:
    """A loader that has already begun to load the model that the environment names.

    It loads nothing yet if there are arguments (such as --help), if settings are invalid (the server reports
    them), or for torch, whose engine must be loaded in the thread that runs it.
    """
    if sys.argv[1:]:
        return load
    try:
        settings = Settings.from_environment()
    except SettingsError:
        return load
    return load if settings.engine == "torch" else HeadStart(settings)


class HeadStart:
    """A `Loader` that begins to load the model of `settings` before it is called."""

    def __init__(self, settings: Settings) -> None:
        """Begin in a separate thread."""
        self._settings = settings
        executor = ThreadPoolExecutor(1, thread_name_prefix="head-start")
        self._first: Future[LoadedModel] | None = executor.submit(_hash_and_load, settings)
        executor.shutdown(wait=False)

    def __call__(self, settings: Settings, beside_another: bool = False) -> "LoadedModel":
        """The model that is already loading, once and for the same settings; otherwise load one now."""
        if self._first is None or settings != self._settings:
            return load(settings, beside_another)
        first, self._first = self._first, None
        return first.result()


def _hash_and_load(settings: Settings) -> "LoadedModel":
    hash_ahead(files_to_hash(Path(settings.checkpoint), pinned=settings.checkpoint_sha256 is not None))
    return load(settings)


def files_to_hash(checkpoint: Path, *, pinned: bool) -> list[Path]:
    """The files to hash first: the graphs, or the checkpoint if its bundle is not known yet."""
    directory = checkpoint
    if not is_bundle(directory):
        checked = None if pinned else recall(checkpoint, FileState.of(checkpoint))
        if checked is None:
            return [checkpoint]
        directory = bundle_directory(checkpoint, checked.checkpoint_sha256)
    return sorted(directory.glob("*.bin"))
