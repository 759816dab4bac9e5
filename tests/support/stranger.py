"""Times a stranger's first minutes on a fresh clone of the last commit: `python -m tests.support.stranger`.

Each step runs as the README says: clone and `make serve` to the first score, the first score in a browser, a
CSV, and a second `make serve`. `--space` also starts a Gradio Space's files (root only). The clone is removed
at the end; a package index has to be reachable. The last line is JSON, in seconds.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.browser import open_browser, visiting
from tests.support.process import PLAIN, ROOT, free_port

MAX_START_S = 1800
VIDEO = {"title": "I built a tiny house in 24 hours", "view_count": 120_000}
ROWS = "title,view_count,published_at\nMy first video,1200,2026-03-01T12:00:00Z\nMy second,90,2026-03-02\n"


def surroundings(port: int) -> dict[str, str]:
    """This process's environment without .venv, Miles's settings and an outer make's variables."""
    taken = ("VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MILES_")}
    return {name: value for name, value in kept.items() if name not in taken} | {"PORT": str(port)}


@contextmanager
def serving(clone: Path) -> Iterator[tuple[str, float]]:
    """`make serve` in the clone once it has scored: its URL and how long that took."""
    port, begun = free_port(), time.monotonic()
    url = f"http://127.0.0.1:{port}"
    log = clone.parent / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["make", "serve"],
            cwd=clone,
            env=surroundings(port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with httpx.Client(trust_env=False, verify=PLAIN) as client:
            while not _scores(client, url):
                if server.poll() is not None or time.monotonic() - begun > MAX_START_S:
                    raise SystemExit(f"make serve did not score:\n{log.read_text()[-3000:]}")
                time.sleep(0.05)
        yield url, time.monotonic() - begun
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _scores(client: httpx.Client, url: str) -> bool:
    try:
        return client.post(f"{url}/predict", json=VIDEO).status_code == 200
    except httpx.TransportError:
        return False


def in_browser(url: str) -> float:
    """Seconds from opening the page to an example's score."""
    with open_browser() as browser, visiting(browser) as visit:
        begun = time.monotonic()
        visit.page.goto(url)
        visit.page.get_by_role("button", name="Taking off").click()
        visit.page.locator("#result .gauge-number").wait_for()
        return time.monotonic() - begun


def timed(*command: str | Path, cwd: Path) -> float:
    """Seconds that a command takes; ends the program if it fails."""
    begun = time.monotonic()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=surroundings(0),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.monotonic() - begun


def main(arguments: list[str] | None = None) -> int:
    """Time every step once; print each when it is done, and all as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.stranger", description=__doc__)
    parser.add_argument("--space", action="store_true", help="also start a Gradio Space's files; needs root")
    options = parser.parse_args(arguments)
    took: dict[str, float] = {}

    def note(step: str, seconds: float) -> None:
        took[step] = round(seconds, 2)
        print(f"{step}: {seconds:.2f} s", flush=True)

    folder = Path(tempfile.mkdtemp(prefix="stranger-"))
    try:
        clone = folder / "miles"
        cloned = timed("git", "clone", "-q", ROOT, clone, cwd=folder)
        with serving(clone) as (url, seconds):
            note("clone to first score", cloned + seconds)
            note("first score in the browser", in_browser(url))
            (folder / "own.csv").write_text(ROWS)
            note("own CSV", timed(clone / "miles", "score", "own.csv", "--url", url, cwd=folder))
        with serving(clone) as (_, seconds):
            note("second make serve to first score", seconds)
        if options.space:
            note("Space's files started", timed("make", "space-test", cwd=clone))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(took))
    return 0


if __name__ == "__main__":
    sys.exit(main())
