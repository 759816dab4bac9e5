"""A compiled model on disk: its graphs and their manifest, beside the checkpoint that they were made from.

    models/compiled/<sha256 of the checkpoint, 16 digits>/
        bundle.json                  model card, precision per tower, fidelity report, sha256 of each file
        text.xml    text.bin         rows of token ids to text vectors (absent in a model without text)
        image.xml   image.bin        uint8 pixels to the image vector (absent in a model without images)
        fusion.xml  fusion.bin       vectors and scalars to probability and velocity
        checked.json                 the checkpoint's state when a start read it; see `files`

Read without torch.
"""

import errno
import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from model.card import ModelCard, Record
from model.checkpoint.file import SIDECAR_SUFFIX, CheckpointError, check_file, sha256_of
from model.checkpoint.metadata import changed_keys
from model.compiled.files import MANIFEST
from model.values import Number, problem

FORMAT = 3
RECIPE = 6  # to be raised whenever the same inputs compile to something else
CPUINFO = Path("/proc/cpuinfo")
# Fastest first, by the processor's flags.
INT8_INSTRUCTIONS = {"AMX": "amx_int8", "VNNI": "avx512_vnni|avx_vnni"}
TOWERS = ("text", "image", "fusion")
PRECISIONS = ("f32", "bf16", "int8")  # from exact to coarse
AGAIN = "Compile the checkpoint again with `./miles compile`."


class BundleError(CheckpointError):
    """A compiled bundle that cannot be used."""


class Manifest(BaseModel):
    """The contents of `bundle.json`."""

    format: Literal[3]
    card: ModelCard
    precision: dict[str, Literal["f32", "bf16", "int8"]]
    neutral_image: list[Number]
    report: Record
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """A compiled model: its card, and its graphs with the precision of each."""

    directory: Path
    card: ModelCard
    precision: dict[str, str]
    """Per tower: int8, bf16 or f32."""
    neutral_image: NDArray[np.float32]
    """The image vector of a video without an image, (image_dim,)."""
    report: dict[str, Any]
    """How far each tower is from the float32 network, and which candidates were refused and why."""
    sha256: str = ""
    """The digest of the manifest, which has those of all files."""

    def graph(self, tower: str) -> Path:
        """The graph of a tower, in OpenVINO's format."""
        return self.directory / f"{tower}.xml"


def read_bundle(directory: Path) -> Bundle:
    """The bundle in `directory`, every file checked against its sha256. Raises `BundleError`."""
    path = directory / MANIFEST
    try:
        read = path.read_bytes()
        manifest = Manifest.model_validate(json.loads(read))
    except ValidationError as exc:
        raise BundleError(f"{path}: {problem(exc)[1]}. {AGAIN}") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise BundleError(f"{path}: cannot be read ({exc}). {AGAIN}") from exc
    neutral = np.array(manifest.neutral_image, dtype=np.float32)
    digest = hashlib.sha256(read).hexdigest()
    bundle = Bundle(directory, manifest.card, dict(manifest.precision), neutral, manifest.report, digest)
    towers = towers_of(bundle.card)
    graphs = {f"{tower}{suffix}" for tower in towers for suffix in (".xml", ".bin")}
    if unknown := sorted(manifest.files.keys() - graphs):
        raise BundleError(f"{path}: lists {', '.join(unknown[:3])}, expected only graphs. {AGAIN}")
    unlisted = {"file": graphs - manifest.files.keys(), "precision": set(towers) - bundle.precision.keys()}
    for kind, missing in unlisted.items():
        if missing:
            raise BundleError(f"{path}: lists no {kind} for {', '.join(sorted(missing))}. {AGAIN}")
    if len(neutral) != bundle.card.config.image_dim:
        raise BundleError(
            f"{path}: its neutral image has {len(neutral)} numbers, its image tower gives "
            f"{bundle.card.config.image_dim}. {AGAIN}"
        )
    _check_files(directory, manifest.files)
    return bundle


def write_manifest(bundle: Bundle) -> None:
    """Write `bundle.json` beside the finished graphs; a directory without it is not a bundle."""
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
    """The names of a model's graphs."""
    return (*card.config.modalities[:-1], "fusion")


def _check_files(directory: Path, expected: Mapping[str, str]) -> None:
    try:
        found = dict(_digests(directory, expected))
    except OSError as exc:
        raise BundleError(f"{directory}: {exc.filename} cannot be read ({exc.strerror}). {AGAIN}") from exc
    for name, digest in expected.items():
        if found[name] != digest:
            raise BundleError(f"{directory / name}: sha256 is {found[name]}, expected {digest}. {AGAIN}")


def _digests(directory: Path, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        if (directory / name).exists() and not (
            directory / name
        ).is_file():  # reading a pipe would wait for its writer
            raise OSError(errno.EINVAL, "not a regular file", str(directory / name))
        yield name, sha256_of(directory / name)


def origin_of(checkpoint: Path, sha256: str, precision: str) -> dict[str, Any]:
    """What decides whether a bundle is current: the files' sha256, the recipe and the processor.

    Raises `CheckpointError` for a sidecar that can't be read.
    """
    sidecar = checkpoint.with_suffix(SIDECAR_SUFFIX)
    return {
        "checkpoint_sha256": sha256,
        "sidecar_sha256": check_file(sidecar, None) if sidecar.exists() else None,
        "precision": precision,
        "recipe": RECIPE,
        "openvino": ov.__version__,
        "processor": processor(),
    }


def current_bundle(
    directory: Path, origin: dict[str, Any], checkpoint: Path, checked_sha256: str | None = None
) -> Bundle | None:
    """The bundle in `directory` if it is intact, has all of `origin` and the card of `checkpoint`.

    A bundle with `checked_sha256` is known to have that card.
    """
    try:
        bundle = read_bundle(directory)
        if bundle.sha256 != checked_sha256:
            check_card(bundle, checkpoint)
    except BundleError:
        return None
    return bundle if origin.items() <= bundle.report.get("origin", {}).items() else None


def check_card(bundle: Bundle, checkpoint: Path) -> None:
    """Raises `BundleError` for a bundle whose card differs from the checkpoint it was made from."""
    changed = changed_keys(checkpoint, bundle.card)
    if changed:
        raise BundleError(
            f"{bundle.directory}: its {MANIFEST} differs from {checkpoint} in {', '.join(changed)}. {AGAIN}"
        )


def processor() -> str:
    """The processor's name, whether it computes in BF16, and what it multiplies int8 with.

    Clouds give processors with and without VNNI the same name, and without it static int8 may saturate.
    """
    name = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip() or platform.processor()
    return f"{name} ({'BF16, ' if 'BF16' in capabilities() else ''}INT8 with {int8_instructions()})"


def int8_instructions(cpuinfo: Path = CPUINFO) -> str:
    """What int8 products run on: AMX, VNNI or neither."""
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    found = [name for name, flag in INT8_INSTRUCTIONS.items() if re.search(rf"\b({flag})\b", text)]
    return found[0] if found else "neither AMX nor VNNI"


def capabilities() -> set[str]:
    """The precisions that this processor computes in natively, by OpenVINO's names."""
    return set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
