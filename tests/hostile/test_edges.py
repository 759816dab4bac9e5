"""Faults that affect nothing else: of decoders, a reload's files, a checkpoint that decompresses."""

import base64
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.test_decoders import fresh_picture, workers_of
from tests.model.checkpoint.test_broken_files import saved
from tests.model.small import contents, small_state
from tests.support.process import LIMIT_S, free_port, until
from tests.support.service import ROOT, Service, environment, ready_service

pytestmark = pytest.mark.hostile
KEY = "a-key-for-the-hostile-suite"
MEBIBYTE = 1024 * 1024
PROMPT_S = 15


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service looks for its bundle: a link, which the tests change."""
    return tmp_path_factory.mktemp("served") / "bundle"


@pytest.fixture(scope="module")
def service(served: Path, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    served.symlink_to(tiny_bundle)
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(log, checkpoint=served, api_keys=KEY) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=LIMIT_S) as running:
        yield running


def state_of_a_picture(client: httpx.Client, number: int) -> str:
    url = "data:image/jpeg;base64," + base64.b64encode(fresh_picture(number)).decode()
    answer = client.post("/predict", json={"title": "x", "thumbnail_url": url})
    return f"{answer.status_code} {answer.json().get('modalities', {}).get('image', {}).get('state')}"


def test_no_descriptor_for_a_decoder(service: Service, client: httpx.Client, promise: Record) -> None:
    number = service.process.pid
    limits = resource.prlimit(number, resource.RLIMIT_NOFILE)
    before = state_of_a_picture(client, 0)
    resource.prlimit(number, resource.RLIMIT_NOFILE, (3, limits[1]))
    for worker in workers_of(service):
        os.kill(worker, 9)
    without = {state_of_a_picture(client, n) for n in (50, 100, 150)}
    resource.prlimit(number, resource.RLIMIT_NOFILE, limits)
    after = state_of_a_picture(client, 200)
    promise(
        "edges",
        wanted="no descriptor for a decoder: scored without the picture, then with pictures again",
        figure=f"{before}; without: {without}; then {after}",
        kept=(before, without, after) == ("200 used", {"200 failed"}, "200 used"),
    )


def a_pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def a_pipe_inside(place: Path, good: Path) -> None:
    """A pipe in place of a graph."""
    place.mkdir()
    (place / "bundle.json").write_bytes((good / "bundle.json").read_bytes())
    os.mkfifo(place / "text.xml")


def endless(place: Path, _: Path) -> None:
    place.symlink_to("/dev/zero")


def a_loop(place: Path, _: Path) -> None:
    place.symlink_to(place)


def no_text(place: Path, _: Path) -> None:
    place.mkdir()
    (place / "bundle.json").write_bytes(b"\xff\xfe{")


def manifest(text: Callable[[str], str]) -> Callable[[Path, Path], None]:
    def make(place: Path, good: Path) -> None:
        place.mkdir()
        (place / "bundle.json").write_text(text((good / "bundle.json").read_text()))

    return make


def outside(text: str) -> str:
    """The manifest with a file outside the bundle."""
    values = json.loads(text)
    return json.dumps(values | {"files": values["files"] | {"../../../../etc/passwd": "0" * 64}})


FAULTS: dict[str, Callable[[Path, Path], None]] = {
    "a pipe": a_pipe,
    "a pipe for a graph": a_pipe_inside,
    "/dev/zero": endless,
    "a link to itself": a_loop,
    "100,000 levels": manifest(lambda _: "[" * 100_000 + "]" * 100_000),
    "900 levels inside": manifest(lambda text: text.replace("{", '{"x": ' + "[" * 900 + "]" * 900 + ", ", 1)),
    "a file outside": manifest(outside),
    "not UTF-8": no_text,
    "nothing": lambda _, __: None,
}


def test_reloads_of_bad_files(served: Path, tiny_bundle: Path, client: httpx.Client, promise: Record) -> None:
    seen, seconds = {}, 0.0
    version = client.post("/predict", json={"title": "x"}).json()["model_version"]
    for number, (name, make) in enumerate(FAULTS.items()):
        make(served.with_name(str(number)), tiny_bundle)
        served.unlink()
        served.symlink_to(served.with_name(str(number)))
        answer = client.post("/admin/reload")
        seconds = max(seconds, answer.elapsed.total_seconds())
        score = client.post("/predict", json={"title": f"beside {name}"}).json()
        if (answer.status_code, score.get("model_version")) != (422, version):
            seen[name] = (answer.status_code, answer.text[:200])
    served.unlink()
    served.symlink_to(tiny_bundle)
    after = client.post("/admin/reload").status_code
    until(lambda: client.get("/health/ready").status_code == 200)
    promise(
        "edges",
        wanted="reloads of pipes, endless files, loops, nested manifests: refused, the old model serves",
        figure=f"{len(FAULTS) - len(seen)} of {len(FAULTS)} are 422 in {seconds:.1f} s {seen}; then {after}",
        kept=not seen and seconds < PROMPT_S and after == 200,
    )


def test_a_checkpoint_that_decompresses_to_a_gigabyte(tmp_path: Path, promise: Record) -> None:
    path, peak = tmp_path / "model_full.pt", 0
    good = io.BytesIO(saved(contents(model_state_dict=dict(small_state(with_vision=False)))))
    with zipfile.ZipFile(good) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in whole.namelist():
            bomb.writestr(member, bytes(10**9) if member.endswith("data.pkl") else whole.read(member))
    settings = environment(checkpoint=path, precision="f32", port=free_port())
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=settings, stderr=log)
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, 1024 * int(found[1]) if found else 0)
            time.sleep(0.01)
    line = (tmp_path / "log").read_text().strip().rpartition("\n")[2]
    promise(
        "edges",
        wanted="a checkpoint of a megabyte that decompresses to a gigabyte: refused within 600 MB",
        figure=f"{path.stat().st_size / 1e6:.1f} MB: exit {process.returncode}, {peak / 1e6:.0f} MB, "
        f"{line[-60:]!r}",
        kept=process.returncode == 1
        and 0 < peak < 600e6
        and "model_full.pt: is truncated or not a torch.save file" in line,
    )
