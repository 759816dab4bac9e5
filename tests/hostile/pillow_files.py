"""The pictures that Pillow is tested with, from its own source distribution, and damaged copies of them.

They come from the package index at test time, for the version that requirements/serve.txt pins, and are kept
under build/. Nothing of the distribution is run except when pip builds its metadata.
"""

import random
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.house import ROOT
from tests.support.requirements import pins

FOLDER = "Tests/images/"
# How the four formats begin; a damaged file of another kind is refused by its first bytes.
READ = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")
LARGEST = 100_000
SEED = 13
PATIENCE_S = 600


class NoCorpusError(Exception):
    """The distribution is not available; says why in a line."""


def corpus() -> dict[str, bytes]:
    """Every file among Pillow's test images by name. Raises `NoCorpusError`."""
    with tarfile.open(_distribution()) as archive:
        return {
            member.name.partition(FOLDER)[2]: content.read()
            for member in archive
            if FOLDER in member.name and (content := archive.extractfile(member)) is not None
        }


def mutations(files: dict[str, bytes], count: int) -> list[bytes]:
    """Damaged copies of the files that a decoder reads: flipped bits, other numbers, cuts, splices."""
    draw = random.Random(SEED)  # noqa: S311  not a secret
    whole = [file for file in files.values() if file.startswith(READ) and len(file) <= LARGEST]
    return [_damaged(draw, draw.choice(whole), draw.choice(whole)) for _ in range(count)]


def _damaged(draw: random.Random, file: bytes, other: bytes) -> bytes:
    damaged = bytearray(file)
    for _ in range(draw.choice((1, 1, 3, 10))):
        # Half of the damage is meant for the headers, which are small compared with the pixels.
        at = draw.randrange(min(len(damaged), 600) if draw.random() < 0.5 else len(damaged))
        match draw.randrange(4):
            case 0:
                damaged[at] ^= 1 << draw.randrange(8)
            case 1:
                number = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
                damaged[at : at + 4] = number.to_bytes(4, draw.choice(("big", "little")))
            case 2:
                end = at + draw.randrange(1, 200)
                damaged[at:end] = damaged[at:end] * draw.randrange(3)
            case _:
                start = draw.randrange(len(other))
                damaged[at:at] = other[start : start + draw.randrange(1, 200)]
        damaged = damaged or bytearray(b"\0")
    return bytes(damaged[: draw.randrange(1, len(damaged) + 1)] if draw.random() < 0.1 else damaged)


def _distribution() -> Path:
    pin = next(pin for pin in pins(ROOT / "requirements/serve.txt") if pin.startswith("pillow=="))
    folder = ROOT / "build" / "pillow"
    name = f"{pin.replace('==', '-')}.tar.gz"
    if not (folder / name).is_file():
        _download(pin, folder)
    if not (folder / name).is_file():
        raise NoCorpusError(f"the package index has no {name}")
    return folder / name


def _download(pin: str, folder: Path) -> None:
    """pip also builds the metadata, in a separate environment, which takes a minute."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), pin],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired as exc:
        raise NoCorpusError(f"pip did not download {pin}'s source within {PATIENCE_S} s") from exc
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise NoCorpusError(f"pip cannot download {pin}'s source: {last}")
