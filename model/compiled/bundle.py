"""A compiled model on disk: three graphs and a card, beside the checkpoint they were made from.

    models/compiled/<sha256 of the checkpoint, 16 digits>/
        bundle.json                  the card, precision per tower, the fidelity report, sha256 of each file
        text.xml    text.bin         rows of token ids to text vectors
        image.xml   image.bin        uint8 pixels to the image vector (absent in a text-only model)
        fusion.xml  fusion.bin       vectors and scalars to probability and velocity

Read without torch. A file that is missing, changed or of another format is one clear error.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from pydantic import ValidationError

from model.card import ModelCard
from model.checkpoint.file import SIDECAR_SUFFIX, CheckpointError, check_file
from model.values import problem

FORMAT = 2
RECIPE = 3  # raise it when the same inputs would give another bundle
MANIFEST = "bundle.json"
TOWERS = ("text", "image", "fusion")
PRECISIONS = ("f32", "bf16", "int8")  # from exact to coarse


class BundleError(CheckpointError):
    """A compiled bundle that cannot be used; the checkpoint may be compiled again."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where its graphs are, how precise each is, and what the model says of itself."""

    directory: Path
    card: ModelCard
    precision: dict[str, str]
    """Per tower: int8, bf16 or f32."""
    neutral_image: NDArray[np.float32]
    """The image vector of a video without an image, (image_dim,)."""
    report: dict[str, Any]
    """How far each tower is from the float32 reference, and which candidates were refused and why."""

    def graph(self, tower: str) -> Path:
        """The graph of a tower, in OpenVINO's format."""
        return self.directory / f"{tower}.xml"


def bundle_directory(checkpoint: Path, sha256: str) -> Path:
    """Where the bundle of a checkpoint lies."""
    return checkpoint.parent / "compiled" / sha256[:16]


def is_bundle(path: Path) -> bool:
    """Whether `path` is a bundle's directory."""
    return (path / MANIFEST).is_file()


def read_bundle(directory: Path) -> Bundle:
    """The bundle in `directory`, every file checked against its sha256. Raises `BundleError`."""
    manifest = directory / MANIFEST
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BundleError(f"{manifest}: cannot be read ({exc}). {_AGAIN}") from exc
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise BundleError(f"{manifest}: has format {found!r}, this version reads {FORMAT}. {_AGAIN}")
    try:
        bundle = Bundle(
            directory=directory,
            card=ModelCard.model_validate(values["card"]),
            precision=dict(values["precision"]),
            neutral_image=np.array(values["neutral_image"], dtype=np.float32),
            report=dict(values["report"]),
        )
        digests = {str(name): str(digest) for name, digest in dict(values["files"]).items()}
    except ValidationError as exc:
        raise BundleError(f"{manifest}: its card: {problem(exc)[1]}. {_AGAIN}") from exc
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise BundleError(f"{manifest}: cannot be read ({exc!r}). {_AGAIN}") from exc
    _check_manifest(bundle, digests)
    _check_files(directory, digests)
    return bundle


def write_manifest(bundle: Bundle) -> None:
    """Write `bundle.json` beside the graphs, which are already in place. Without it, no bundle."""
    files = sorted(path.name for path in bundle.directory.glob("*.*") if path.suffix in (".xml", ".bin"))
    values = {
        "format": FORMAT,
        "card": bundle.card.model_dump(mode="json"),
        "precision": bundle.precision,
        "neutral_image": bundle.neutral_image.tolist(),
        "report": bundle.report,
        "files": dict(_digests(bundle.directory, files)),
    }
    (bundle.directory / MANIFEST).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def towers_of(card: ModelCard) -> tuple[str, ...]:
    """The graphs that a model has: one without an image tower has no graph for it."""
    return TOWERS if card.config.vision else ("text", "fusion")


_AGAIN = "Compile the checkpoint again with `python -m model.compile`."


def _check_manifest(bundle: Bundle, digests: Mapping[str, str]) -> None:
    """Everything that the card promises is spoken for."""
    manifest, towers = bundle.directory / MANIFEST, towers_of(bundle.card)
    unlisted = sorted(
        {f"{tower}{suffix}" for tower in towers for suffix in (".xml", ".bin")} - digests.keys()
    )
    if unlisted:
        raise BundleError(f"{manifest}: lists no {', '.join(unlisted)}. {_AGAIN}")
    silent = sorted(tower for tower in towers if bundle.precision.get(tower) not in PRECISIONS)
    if silent:
        raise BundleError(
            f"{manifest}: says no precision of {', '.join(silent)} that is one of {', '.join(PRECISIONS)}: "
            f"{bundle.precision}. {_AGAIN}"
        )
    if bundle.neutral_image.shape != (bundle.card.config.image_dim,):
        raise BundleError(
            f"{manifest}: its neutral image has {bundle.neutral_image.size} numbers, its image tower gives "
            f"{bundle.card.config.image_dim}. {_AGAIN}"
        )


def _check_files(directory: Path, expected: Mapping[str, str]) -> None:
    try:
        found = dict(_digests(directory, expected))
    except OSError as exc:
        raise BundleError(f"{directory}: {exc.filename} cannot be read ({exc.strerror}). {_AGAIN}") from exc
    for name, digest in expected.items():
        if found[name] != digest:
            raise BundleError(f"{directory / name}: sha256 is {found[name]}, expected {digest}. {_AGAIN}")


def _digests(directory: Path, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        with (directory / name).open("rb") as file:
            yield name, hashlib.file_digest(file, "sha256").hexdigest()


def origin_of(checkpoint: Path, precision: str) -> dict[str, Any]:
    """What decides whether a bundle is current: the files' sha256, the recipe and the processor.

    Raises `CheckpointError`.
    """
    sidecar = checkpoint.with_suffix(SIDECAR_SUFFIX)
    return {
        "checkpoint_sha256": check_file(checkpoint, None),
        "sidecar_sha256": check_file(sidecar, None) if sidecar.exists() else None,
        "precision": precision,
        "recipe": RECIPE,
        "openvino": ov.__version__,
        "processor": processor(),
    }


def current_bundle(directory: Path, origin: dict[str, Any]) -> Bundle | None:
    """The bundle in `directory` if it is intact and has all of `origin`."""
    try:
        bundle = read_bundle(directory)
    except BundleError:
        return None
    return bundle if origin.items() <= bundle.report.get("origin", {}).items() else None


def processor() -> str:
    """The processor's name and whether it computes in BF16 and INT8."""
    core = ov.Core()
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip() or platform.processor()
    return f"{name} ({', '.join(sorted(capabilities() & {'BF16', 'INT8'})) or 'neither BF16 nor INT8'})"


def capabilities() -> set[str]:
    """The precisions that this processor computes in natively, by OpenVINO's names."""
    return set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
