"""The URL policy and the decoder under atheris, a fuzzer that sees which branches an input takes."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.hostile.conftest import Record
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN
from tests.support.house import ROOT
from tests.support.pictures import encoded, picture

pytestmark = pytest.mark.hostile

ATHERIS = "atheris==3.0.0"  # the last release with wheels for Python 3.11; installed outside the environment
PATIENCE_S = 600
GOOD_URLS = [
    "https://i.ytimg.com/vi/a/hqdefault.jpg",
    "http://9.9.9.9/a?b=c#d",
    "https://[2606:4700::1]/",
    "data:image/png;base64,aGk=",
    "https://example.com:443/%41/ü",
]
LOCATIONS = ["/b.jpg", "?q", "//cdn.example.com/b", "https://example.com/c", "http://example.com/", "../x"]


@pytest.fixture(scope="module")
def library() -> Path:
    folder = ROOT / "build" / ATHERIS.replace("==", "-")
    if not folder.is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--target", str(folder), ATHERIS],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            pytest.skip(f"fuzzing: pip cannot install {ATHERIS}: {last}")
    return folder


def fuzz(library: Path, place: Path, target: str, seeds: Iterable[bytes], seconds: int) -> tuple[int, str]:
    """The number of runs within `seconds`, and the finding; empty if there is none."""
    corpus = place / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    # A forked child starts with its parent's peak of resident memory, which libFuzzer counts as its own.
    limit = 2000 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        f"-rss_limit_mb={limit}",
        "-max_len=20000",
        "-seed=1",
    ]
    command = [sys.executable, "-m", "tests.hostile.fuzz_targets", target, *options]
    done = subprocess.run(
        [*command, f"-artifact_prefix={place}/", str(corpus)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(library)},
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE_S,
    )
    runs = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
    if done.returncode == 0 and runs:
        return int(runs[1]), ""
    return 0, f"exit status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"


@pytest.mark.parametrize(
    ("target", "wanted", "least"),
    [
        ("urls", "URL policy, a minute: public, and read the same by another parser, or refused", 50_000),
        ("redirects", "redirects, a minute: the same for a Location", 50_000),
        ("decoder", "decoder, a minute: pixels or an error of ours", 2_000),
    ],
)
def test_nothing_is_found(
    target: str, wanted: str, least: int, library: Path, tmp_path: Path, promise: Record
) -> None:
    """A minute of coverage-guided inputs finds no outcome that the target does not allow."""
    seeds = {
        "urls": [url.encode("utf-8", "surrogatepass") for url in (*GOOD_URLS, *BAD, *FORBIDDEN)],
        "redirects": [text.encode() for text in (*LOCATIONS, *GOOD_URLS)],
        "decoder": [
            encoded(picture(mode, (24, 16)), kind)
            for kind in ("JPEG", "PNG", "WEBP", "GIF", "MPO")
            for mode in ("RGB", "L")
        ],
    }
    runs, finding = fuzz(library, tmp_path, target, seeds[target], seconds=60)
    figure = finding or f"{runs:,} runs, nothing found"
    promise("fuzzing", wanted=wanted, figure=figure, kept=not finding and runs >= least)
