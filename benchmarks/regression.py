"""Counts what a request and a picture cost, in numbers that do not depend on the machine's load.

    ./miles compile && python -m benchmarks.regression [BUNDLE] [--instructions] [--write]

Bytecodes are those that Python executes on the event loop for one video that was scored before, from the ASGI
call to the answer, without asyncio's own, which depend on timing; and those of decoding one picture.
`--instructions` adds the processor's instructions for decoding a picture of each size, counted by Valgrind's
callgrind, under which every x86 processor looks alike (`apt-get install valgrind`; two minutes).

The figures in regression.json may grow by 5%; `make test` checks the bytecodes. If a change needs more on
purpose, store the new figures with `--write`.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from app import create_app
from benchmarks.harness.thumbnail_host import HQ, MAXRES, MIX, MQ, SHORT, Pictures
from benchmarks.harness.workload import Workload
from preprocessing.image import AS_SEEN, ImageLimits, ImageSpec
from preprocessing.pixels import read_picture
from serving.observability.logs import configure_logging
from serving.settings import Settings

STORED = Path(__file__).with_suffix(".json")
TOLERANCE = 0.05
CALLS = 7
DECODED = (2, 12)  # pictures in two runs, whose difference is that of ten pictures
OTHERS = re.compile(r"/(asyncio|concurrent|selectors|threading|queue|logging|uvloop)[/.]")
NAMES = {"hqdefault": HQ, "mqdefault": MQ, "maxresdefault": MAXRES, "short": SHORT}
Trace = Callable[[FrameType, str, Any], Any]


class Counter:
    """Counts the bytecodes that this thread executes, apart from those of files in `OTHERS`."""

    def __init__(self) -> None:
        self.bytecodes = 0
        self._left_out: dict[CodeType, bool] = {}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what runs within."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, _event: str, _value: object) -> Trace | None:
        code = frame.f_code
        if code not in self._left_out:
            self._left_out[code] = OTHERS.search(code.co_filename) is not None
        if self._left_out[code]:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._step

    def _step(self, _frame: FrameType, event: str, _value: object) -> Trace:
        self.bytecodes += event == "opcode"
        return self._step


def fewest(run: Callable[[], Any]) -> int:
    """The fewest bytecodes of a few calls: the first ones fill caches."""
    counts = []
    for _ in range(CALLS):
        counter = Counter()
        with counter.counting():
            run()
        counts.append(counter.bytecodes)
    return min(counts)


def picture_bytecodes() -> int:
    """Those of decoding an hqdefault as a new checkpoint reads it."""
    body, spec = Pictures().body(MIX.index(HQ)), ImageSpec(reading=AS_SEEN)
    return fewest(lambda: read_picture(body, spec, ImageLimits()))


def request_bytecodes(bundle: Path) -> int:
    """Those of scoring a known video with new counts, with the model in `bundle`."""
    return asyncio.run(_request_bytecodes(bundle))


async def _request_bytecodes(bundle: Path) -> int:
    configure_logging("json", "error")
    failures: list[str] = []
    app = create_app(Settings(checkpoint=str(bundle)), failures.append)
    picture = base64.b64encode(Pictures().body(MIX.index(HQ))).decode()
    video = Workload("").new_videos(1)[0] | {"thumbnail_url": f"data:image/jpeg;base64,{picture}"}
    async with app.router.lifespan_context(app) as state:
        while (await _ask(app, state, "GET", "/health/ready"))[0] != 200:
            if failures:
                raise RuntimeError(failures[0])
            await asyncio.sleep(0.05)
        counts = []
        for views in range(1000, 1000 + CALLS):
            counter = Counter()
            with counter.counting():
                status, answer = await _ask(app, state, "POST", "/predict", video | {"view_count": views})
            if status != 200:
                raise RuntimeError(f"/predict answered {status}: {answer!r}")
            counts.append(counter.bytecodes)
    return min(counts)


async def _ask(
    app: Any, state: Mapping[str, Any] | None, method: str, path: str, body: Any = None
) -> tuple[int, bytes]:
    """Status and body of the app's answer, without a server."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": dict(state or {}),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked.is_set():  # the client stays until it is answered
            await asyncio.Event().wait()
        asked.set()
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return int(sent[0]["status"]), b"".join(message.get("body", b"") for message in sent[1:])


def decoding_instructions() -> dict[str, int]:
    """The processor's instructions for a picture of each size, by callgrind."""
    if shutil.which("valgrind") is None:
        raise SystemExit(
            "regression: valgrind is not installed (on Debian and Ubuntu: apt-get install valgrind)"
        )
    found, pictures = {}, Pictures()
    for name, size in NAMES.items():
        body = pictures.body(MIX.index(size))
        few, many = (_instructions(body, count) for count in DECODED)
        found[name] = (many - few) // (DECODED[1] - DECODED[0])
    return found


def _instructions(body: bytes, count: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out, picture = Path(folder) / "callgrind", Path(folder) / "picture.jpg"
        picture.write_bytes(body)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        subprocess.run(  # noqa: S603  a list, no shell
            [*command, "-c", DECODE, str(picture), str(count)],
            check=True,
            capture_output=True,
            env=environment,
        )
        return int(re.findall(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)[-1])


DECODE = """
import sys
from pathlib import Path
from preprocessing.image import AS_SEEN, ImageLimits, ImageSpec
from preprocessing.pixels import read_picture
body = Path(sys.argv[1]).read_bytes()
for _ in range(int(sys.argv[2])):
    read_picture(body, ImageSpec(reading=AS_SEEN), ImageLimits())
"""


def slower(found: Mapping[str, int], stored: Mapping[str, int]) -> dict[str, str]:
    """Every figure that grew by more than the tolerance, in a sentence."""
    return {
        name: f"{value}, stored is {stored[name]}; at most {TOLERANCE:.0%} more is allowed"
        for name, value in found.items()
        if name in stored and value > (1 + TOLERANCE) * stored[name]
    }


def main(arguments: list[str] | None = None) -> int:
    """Count, compare, and store if asked; exit status 1 when something grew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "bundle", nargs="?", type=Path, help="a compiled bundle; default: no request is counted"
    )
    parser.add_argument("--instructions", action="store_true", help="count decoding with Valgrind as well")
    parser.add_argument("--write", action="store_true", help="store the figures")
    options = parser.parse_args(arguments)
    found = {"bytecodes of a picture": picture_bytecodes()}
    if options.bundle:
        found["bytecodes of a known video"] = request_bytecodes(options.bundle)
    if options.instructions:
        found |= {f"instructions of {name}": count for name, count in decoding_instructions().items()}
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    grown = slower(found, stored)
    for name, sentence in grown.items():
        print(f"{name}: {sentence}", file=sys.stderr)
    if options.write:
        STORED.write_text(json.dumps(stored | found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))
    return 1 if grown and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
