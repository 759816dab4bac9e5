"""Runs the service, a database and the web page, and scores 22 invented videos.

make demo                       until Ctrl-C
make demo ARGS=--once           score, play the loop from scores to a better model, print and exit
make demo ARGS=--loop           play the loop, then keep running until Ctrl-C
make demo ARGS="--once --data youtube_short_form_2026.csv.gz"   the loop on real videos and their later looks,
                                from a first model of a few of them
make demo ARGS=--without-page   no web page

The loop runs on PyTorch, so that a new model need not be compiled; without it the service runs on a compiled
bundle.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import psycopg

from deploy.demo import site
from deploy.demo.database import Database, DatabaseError, find_programs, started_database
from deploy.demo.loop import Loop, Served, checkpoint_in, first_model, loop_settings
from deploy.demo.processes import DemoError, Part, free_port, started, wait_until_ready

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "examples.csv"
CLIENTS = ROOT / "clients"
START_LIMIT_S = 180
PAGE_LIMIT_S = 60


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM."""


def say(sentence: str) -> None:
    """Print progress."""
    print(f"demo: {sentence}", flush=True)


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs, installed by root with apt-get if missing. Raises `DemoError`."""
    found = find_programs()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing PostgreSQL with apt-get")
        for words in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", "postgresql"]):
            subprocess.run(  # noqa: S603  a list, no shell
                ["apt-get", *words],  # noqa: S607  found in root's PATH
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=False,
            )
        found = find_programs()
    if found is None:
        raise DemoError("PostgreSQL is not installed (on Debian and Ubuntu: apt-get install postgresql)")
    return found


def start_service(
    stack: ExitStack, folder: Path, origin_port: int, more: Mapping[str, str]
) -> tuple[Part, str]:
    """Start the service, with `more` settings, and wait until it is ready; its process and address."""
    port = free_port(int(os.environ.get("PORT") or os.environ.get("MILES_PORT") or 7860))
    url = f"http://127.0.0.1:{port}"
    settings = {
        "MILES_HOST": "127.0.0.1",
        "MILES_PORT": str(port),
        "MILES_CORS_ORIGINS": f"http://localhost:{origin_port}",
        **more,
    }
    say(f"starting the service on {url}")
    command = [sys.executable, "app.py"]
    part = stack.enter_context(started("the service", command, folder / "service.log", ROOT, settings))
    wait_until_ready(part, f"{url}/health/ready", START_LIMIT_S)
    return part, url


def start_page(stack: ExitStack, folder: Path, port: int, service: str, key: str) -> Part | None:
    """Start the web page; None, with the reason printed, if it cannot be built."""
    node = site.find_node()
    if node is None:
        say(f"no web page: it needs Node.js {site.MIN_NODE} or newer, see https://nodejs.org")
        return None
    try:
        say("building the web page (the first time takes a minute)")
        site.build(node, folder / "page.log")
        part = stack.enter_context(site.serve(node, folder / "page.log", port, service, key))
        wait_until_ready(part, f"http://127.0.0.1:{port}/", PAGE_LIMIT_S)
    except DemoError as exc:
        say(f"no web page: {exc}")
        return None
    return part


def fill(database: Database) -> int:
    """Create the scraper's table and insert the examples; the number of rows."""
    rows = EXAMPLES.read_bytes()
    columns = rows.partition(b"\n")[0]
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute((CLIENTS / "database" / "schema.sql").read_bytes())
        with cursor.copy(b"COPY candidates (%b) FROM STDIN (FORMAT csv, HEADER)" % columns) as copy:
            copy.write(rows)
        return cursor.rowcount


def score(database: Database, service: str, key: str) -> None:
    """Run clients/trigger_inference.py as the scraper does. Raises `DemoError`."""
    command = [sys.executable, str(CLIENTS / "trigger_inference.py")]
    settings = {"DATABASE_URL": database.url, "INFERENCE_API_URL": service, "MILES_API_KEY": key}
    done = subprocess.run(command, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, check=False)  # noqa: S603
    if done.returncode:
        raise DemoError(f"clients/trigger_inference.py ended with exit code {done.returncode}")


def print_scores(database: Database) -> None:
    """Print the table, highest scores first."""
    with psycopg.connect(database.url) as connection:
        rows = connection.execute(
            "SELECT miles_score, predicted_velocity, view_count, title FROM candidates "
            "ORDER BY miles_score DESC NULLS LAST"
        ).fetchall()
    print(f"\n{'score':>8}  {'views/day':>11}  {'views now':>10}  title")
    for viral, velocity, views, title in rows:
        print(f"{viral:8.4f}  {velocity:11,.0f}  {views:10,}  {title}")
    print(flush=True)


def wait(parts: Sequence[Part]) -> None:
    """Wait for an interruption. Raises `DemoError` if one of the processes ends."""
    while True:
        for part in parts:
            if part.process.poll() is not None:
                raise DemoError(f"{part.name} ended unexpectedly:\n{part.last_lines()}")
        time.sleep(0.5)


def run(stack: ExitStack, options: argparse.Namespace) -> None:
    """Start everything, score, print, and wait."""
    programs = postgres_programs()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="miles-demo-")))
    page_port = free_port(3000)
    more = {}
    checkpoints = checkpoint_in(folder) if options.once or options.loop else None
    if checkpoints is not None:
        more = loop_settings(*checkpoints)
    say("starting a temporary PostgreSQL server")
    database = stack.enter_context(started_database(programs))
    if checkpoints is not None and options.data is not None:
        first_model(database, options.data, checkpoints[0], say)
    service, url = start_service(stack, folder, page_port, more)
    key = more.get("MILES_API_KEYS", "")
    page = None if options.without_page else start_page(stack, folder, page_port, url, key)
    count = fill(database)
    say(f"{count} example rows are in the table candidates; clients/trigger_inference.py scores them")
    score(database, url, key)
    print_scores(database)
    if checkpoints is not None:
        Loop(database, Served(url, key, *checkpoints), options.data, say).play()
    elif options.once or options.loop:
        say("no loop: MILES_CHECKPOINT is a compiled bundle, from which nothing can be trained")
    if options.once:
        return
    say(f"service      {url}/ in a browser, API reference at {url}/docs" + (f"; key {key}" if key else ""))
    if page:
        say(f"web page     http://localhost:{page_port}/")
    say(f"table        psql {database.url} -c 'table candidates'")
    say("press Ctrl-C to stop everything and delete the database")
    wait([service, *([page] if page else [])])


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; exit code 0 after Ctrl-C, 1 if something is missing or failed."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="play the loop and exit")
    parser.add_argument("--loop", action="store_true", help="play the loop, then keep running")
    parser.add_argument("--data", type=Path, help="real videos for the loop (CSV or CSV.gz)")
    parser.add_argument("--without-page", action="store_true", help="do not build and start the web page")
    options = parser.parse_args(words)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            run(stack, options)
    except Interrupted:
        say("stopped")
    except (DemoError, DatabaseError) as exc:
        print(f"demo: {exc}", file=sys.stderr)
        return 1
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # stop the processes in order, and only once
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main())
