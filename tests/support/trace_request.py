"""The files of ours that one `/predict` enters, in order, and their number.

    python -m tests.support.trace_request [CHECKPOINT]

It serves CHECKPOINT (models/model_full.pt by default, compiled as `make model` leaves it) on a socket in
this process, and after a first request sends three new videos: without a picture, with one in the request,
and with one to download. The files that the decoding process imports count too. The last line is JSON.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import httpx

from app import create_app
from serving.lifecycle.supervision import CHECK_INTERVAL_S
from serving.process.server import run
from tests.support.service import ROOT, free_port
from tests.support.thumbnail_host import picture, thumbnail_host

WORKER = "import sys, preprocessing.decoding.worker as w; print(*(getattr(m, '__file__', '') for m in "
LIST_WORKER = WORKER + "list(sys.modules.values())))"


class Recorder:
    """Notes the first function of each of our files that any thread enters while it is on."""

    def __init__(self) -> None:
        self.entered: dict[str, str] = {}
        self._is_on = False
        self._seen: set[CodeType] = set()
        self._in_background: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if not self._is_on or event != "call" or frame.f_code in self._seen:
            return
        self._seen.add(frame.f_code)
        name = ours(frame.f_code.co_filename)
        if name is not None:
            self.entered.setdefault(name, frame.f_code.co_qualname)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what is entered until the context ends."""
        self.entered, self._seen, self._is_on = {}, set(self._in_background), True
        try:
            yield
        finally:
            self._is_on = False

    def leave_out_background(self) -> None:
        """From now on leave out the functions that run while nothing is asked."""
        with self.recording():
            threading.Event().wait(4 * CHECK_INTERVAL_S)
        self._in_background = self._seen


def ours(path: str) -> str | None:
    """The path from the root of a product file, None for tests, packages and the standard library."""
    if not path.startswith(f"{ROOT}/"):
        return None
    name = path.removeprefix(f"{ROOT}/")
    return None if name.startswith((".venv/", "tests/")) or name.endswith("__init__.py") else name


def decoding_process() -> dict[str, str]:
    """The files of ours that a decoding process has imported."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_WORKER], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name: "in the decoding process" for path in done.stdout.split() if (name := ours(path))}


def ask(url: str, recorder: Recorder) -> dict[str, dict[str, str]]:
    """The files that a new video of each kind enters."""
    with httpx.Client(base_url=url, timeout=120) as client, thumbnail_host() as host:
        while client.get("/health/ready").status_code != 200:
            threading.Event().wait(0.1)
        found: dict[str, dict[str, str]] = {}
        client.post("/predict", json=video(0) | {"thumbnail_url": host.thumbnail(0)}).raise_for_status()
        recorder.leave_out_background()
        data_url = f"data:image/jpeg;base64,{base64.b64encode(picture(1)).decode()}"
        kinds = {
            "without a picture": {},
            "with a picture in the request": {"thumbnail_url": data_url},
            "with a thumbnail to download": {"thumbnail_url": host.thumbnail(2)},
        }
        for number, (kind, picture_fields) in enumerate(kinds.items(), start=1):
            with recorder.recording():
                answer = client.post("/predict", json=video(number) | picture_fields).json()
            assert answer["modalities"]["image"]["state"] == ("used" if picture_fields else "missing"), answer
            found[kind] = recorder.entered | (decoding_process() if picture_fields else {})
        return found


def video(number: int) -> dict[str, Any]:
    return {
        "title": f"I built tiny house {number} in 24 hours",
        "description": "From foundation to roof.",
        "view_count": 120_000 + number,
        "published_at": "2026-03-01T12:00:00Z",
        "observed_at": "2026-03-02T12:00:00Z",
    }


def ask_and_stop(url: str, recorder: Recorder) -> None:
    """Ask, print what was entered, and have this process's server stop."""
    try:
        results = ask(url, recorder)
        for kind, entered in results.items():
            print(f"{len(entered)} files, {kind}:")
            print("\n".join(f"  {name:45} {function}" for name, function in entered.items()))
        print(json.dumps({kind: len(entered) for kind, entered in results.items()}))
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def main(checkpoint: str = "models/model_full.pt") -> int:
    """Serve, ask, print, stop; the server's exit code."""
    port = free_port()
    os.environ |= {
        "MILES_CHECKPOINT": checkpoint,
        "MILES_HOST": "127.0.0.1",
        "MILES_PORT": str(port),
        "MILES_THUMBNAIL_TRUSTED_NETWORKS": "127.0.0.0/8",
        "MILES_LOG_LEVEL": "warning",
    }
    recorder = Recorder()
    # It prints before the server stops: the server ends its process at once when threads are left.
    threading.Thread(target=ask_and_stop, args=(f"http://127.0.0.1:{port}", recorder), daemon=True).start()
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    return run(create_app)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
