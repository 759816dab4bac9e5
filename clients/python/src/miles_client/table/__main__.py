"""Scores the rows of `candidates` that have no score yet; the scraper runs it after each scrape.

    python trigger_inference.py                     at most 50 rows
    python trigger_inference.py --dry-run           score and print without writing
    python trigger_inference.py --watch             repeat every minute until stopped
    python trigger_inference.py --rescore-after 24  also rows scored a day ago whose counts have changed
    python trigger_inference.py --table public.videos --column id=video_id --column miles_score=score

A single file, so that it can be copied next to a scraper; `pip install miles-client` installs it as
miles-score-table. It needs httpx, and psycopg 3 for DATABASE_URL. Settings come from the environment or
from a `.env` file, here or next to this file:

    INFERENCE_API_URL       the service, with or without /predict
    DATABASE_URL            PostgreSQL; a pooler in transaction mode (Supabase's, PgBouncer) works
    SUPABASE_URL, SUPABASE_SERVICE_KEY      the alternative: PostgREST over HTTPS
    MILES_API_KEY           sent as a bearer token, if the service requires one

With DATABASE_URL the rows of one call stay locked until their scores are committed (FOR UPDATE SKIP LOCKED),
so concurrent runs never score a row twice, and a run that dies leaves its rows unchanged. PostgREST has no
locks: a score is written only where `analyzed_at` is still null, so each row is *written* once and a crash
loses nothing, but two concurrent runs may both request a score for the same row.

A row that can't be scored keeps its nulls and is reported with the reason. It doesn't count towards --limit,
so it never blocks the rows behind it. A row whose score the database does not accept (row-level security, a
trigger) is tried once in a run and reported.

With the tables of clients/database/loop.sql it also keeps every score with what it was based on (predictions)
and the counts that were scored (snapshots), and sends a video's previous look with the next request.
--rescore-after needs DATABASE_URL and these tables.

Exit codes: 0 all rows found were scored; 1 some rows were skipped (see the output); 2 invalid setting; 3 the
service did not answer; 4 the database did not answer or did not accept scores; 130 and 143 stopped by SIGINT
or SIGTERM after writing the scores received so far.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from miles_client.service import Patience, Unavailable, opened_service
from miles_client.settings import (
    DONE,
    NO_DATABASE,
    NO_SERVICE,
    ROWS_LEFT,
    WAITS_S,
    WRONG_SETTING,
    SettingError,
    positive,
    seconds,
    settings,
)
from miles_client.stop import Stopped, StopSignals
from miles_client.table.postgres import Postgres
from miles_client.table.postgrest import PostgREST
from miles_client.table.report import Report
from miles_client.table.run import Run, Store
from miles_client.table.store import COLUMNS, FIELDS, DatabaseError, Names
from miles_client.terminal import give_up_output, prepare_output


def opened_store(known: Mapping[str, str], options: argparse.Namespace) -> Store:
    """The configured database; DATABASE_URL first, because it has locks."""
    names = Names(options.table, dict(options.column))
    if "DATABASE_URL" in known:
        return Postgres(
            known["DATABASE_URL"],
            options.timeout,
            read_only=options.dry_run,
            names=names,
            rescore_after_h=options.rescore_after,
        )
    if "SUPABASE_URL" in known and "SUPABASE_SERVICE_KEY" in known:
        if options.rescore_after is not None:
            raise SettingError(
                "--rescore-after needs DATABASE_URL: PostgREST cannot compare rows with snapshots"
            )
        return PostgREST(known["SUPABASE_URL"], known["SUPABASE_SERVICE_KEY"], options.timeout, names)
    raise SettingError("set DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_KEY, here or in .env")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--limit", type=positive(int), default=50, help="maximum number of rows (default: 50)"
    )
    parser.add_argument("--dry-run", action="store_true", help="score and print without writing")
    parser.add_argument(
        "--table", default="candidates", help="the table, or SCHEMA.TABLE (default: candidates)"
    )
    parser.add_argument(
        "--column",
        type=_column,
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help=f"the table's name for a column, or none; may be repeated; NAME is one of {', '.join(COLUMNS)}",
    )
    parser.add_argument(
        "--rescore-after",
        type=positive(float),
        metavar="HOURS",
        help="also score rows again whose score is older than this, if their counts have changed since",
    )
    parser.add_argument(
        "--watch",
        type=positive(float),
        nargs="?",
        const=60.0,
        metavar="S",
        help="repeat every S seconds (without a value: 60)",
    )
    parser.add_argument(
        "--batch", type=positive(int), default=16, help="rows per call, at most 256 (default: 16)"
    )
    parser.add_argument(
        "--timeout", type=positive(float), default=60.0, help="timeout of a call in seconds (default: 60)"
    )
    parser.add_argument(
        "--patience",
        type=positive(float),
        default=300.0,
        help="how long to wait for a sleeping service, in seconds (default: 300)",
    )
    parser.add_argument(
        "--waits",
        type=seconds,
        default=list(WAITS_S),
        help="seconds between tries (default: 5,15,30,60)",
    )
    return parser


def _column(text: str) -> tuple[str, str]:
    name, is_given, column = text.partition("=")
    if name not in COLUMNS or not is_given or (not column and name not in FIELDS):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected NAME=COLUMN with a NAME of {', '.join(COLUMNS)}"
        )
    return name, column


def run_once(run: Run) -> int:
    """Run once, print the summary and return the exit code."""
    begun = time.monotonic()
    try:
        return run.until_done()
    except Stopped:
        return DONE
    except Unavailable as exc:
        run.report.note(f"gave up on {run.service.url}: {exc}")
        return NO_SERVICE
    except DatabaseError as exc:
        run.report.note(f"gave up: {exc}")
        return NO_DATABASE
    finally:
        run.report.line(f"{run.summary()}; {time.monotonic() - begun:.1f} s")


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    prepare_output()
    options = arguments().parse_args(words)
    stop, report = StopSignals(), Report("would" if options.dry_run else "scored")
    stop.install()
    try:
        known = settings(os.environ, [Path.cwd() / ".env", Path(sys.argv[0]).parent / ".env"])
        store = opened_store(known, options)
        service = opened_service(known, options.timeout)
        kept: frozenset[str] = frozenset()
        while True:
            patience = Patience(options.patience, options.waits)
            run = Run(
                store,
                service,
                patience,
                stop,
                report,
                options.limit,
                min(options.batch, 256),
                options.dry_run,
                kept,
            )
            code = run_once(run)
            kept |= run.kept
            if options.watch and stop.number is None:
                with suppress(Stopped):  # the exit code says it
                    stop.sleep(options.watch)
            if stop.number is not None:
                return 128 + stop.number
            if not options.watch:
                return code
    except SettingError as exc:
        print(f"trigger_inference: {exc}", file=sys.stderr)
        return WRONG_SETTING
    except OSError as exc:  # stdout cannot be written; everything reported so far is committed
        if not isinstance(exc, BrokenPipeError):
            print(f"trigger_inference: its output cannot be written: {exc.strerror}", file=sys.stderr)
        return ROWS_LEFT
    finally:
        give_up_output()


if __name__ == "__main__":
    sys.exit(main())
