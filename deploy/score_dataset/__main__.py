"""Scores a CSV or Parquet file, a folder of them, or a table of PostgreSQL, once, on every core there is.

    python -m deploy.score_dataset videos.csv scored/
    python -m deploy.score_dataset exports/ scored/ --map title=Headline --keep id --keep channel
    python -m deploy.score_dataset videos.parquet scored/ --address auto     on the cluster that runs here
    python -m deploy.score_dataset postgresql://me@db/app scored/ --table candidates
    python -m deploy.score_dataset postgresql://me@db/app postgresql://me@db/app --table candidates \
        --table-out scores --state under-way/

Ray Data hands parts of the input to scoring processes, one for every `--threads` cores; each is the
service's own predictor, so a score is what `/predict` answers. No part is held longer than it is scored. OUT
is a folder of Parquet files that every machine of the cluster can write to; `row` counts the input's rows
from 0.

An interrupted run, run again, goes on: of the rows under way when it ended at most 64 a process are scored
again, no other. Rows that cannot be scored are set aside in OUT/_rejected with the reason. Rows that do not
say when their counts were read take one moment for all, that of the first run.

A table is read in the order of its key. With OUT a database each part's scores are one transaction, and the
folder `--state` holds them, too. Passwords are read from PGPASSWORD or libpq's password file.

However many processes there are, the same rows have scores and the same are set aside. Who shares a batch
with whom is chance, and may move a few scores by thousandths; with `--exact` each video is alone in its
forward, the last digit is the same each time, and it takes longer.

MILES_ settings hold as for the service. The last line is JSON: rows, seconds, rows per second and core (with
the time in which processes start), and what the towers alone would do. Exit codes: 0 every row has a score;
1 some were set aside; 2 a setting or the input is wrong; 130 and 143 stopped by a signal, run it again to go
on.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.score_dataset.job import JobError
from serving.settings import Settings, SettingsError


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        from deploy.score_dataset.postgres import Address
        from deploy.score_dataset.run import score  # Ray is no requirement of anything else
    except ModuleNotFoundError as exc:
        if exc.name not in ("ray", "pyarrow", "psycopg"):
            raise
        print("scoring a dataset needs Ray: make scale-setup", file=sys.stderr)
        return 2
    try:
        asked.input = Address.of(asked.input) or Path(asked.input)
        asked.output = Address.of(asked.output) or Path(asked.output)
        account = score(asked, Settings.from_environment())
    except (JobError, SettingsError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    print(json.dumps(account))
    return 1 if account["rejected"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.score_dataset",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "input", metavar="IN", help="a .csv or .parquet file, a folder of either, or postgresql://..."
    )
    parser.add_argument("output", metavar="OUT", help="a folder, new or of the same job, or postgresql://...")
    parser.add_argument("--table", metavar="NAME", help="of a database, what is read")
    parser.add_argument("--query", metavar="SELECT", help="instead of --table; wants --key")
    parser.add_argument("--key", metavar="COLUMN", help="tells rows apart; a table's primary key")
    parser.add_argument("--table-out", metavar="NAME", help="of a database, what is written; made if need be")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="for what is under way, OUT a database")
    parser.add_argument(
        "--map", action="append", default=[], metavar="FIELD=COLUMN", help="a column's meaning"
    )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="COLUMN", help="copied into the results"
    )
    parser.add_argument("--require", action="append", default=[], choices=["text", "image", "scalars"])
    parser.add_argument("--thumbnails", choices=["fetch", "none"], default="fetch")
    parser.add_argument("--exact", action="store_true", help="the last digit is the same each time; slower")
    parser.add_argument("--observed-at", default="", metavar="TIME", help="ISO 8601; the first run's start")
    parser.add_argument("--part-rows", type=_positive, default=2048, help="rows of a part (2048)")
    parser.add_argument("--threads", type=_positive, default=1, help="cores of a process (1)")
    parser.add_argument("--workers", type=_positive, help="processes; as many as there are cores for")
    parser.add_argument(
        "--per-host", type=_positive, default=32, help="thumbnails fetched from one host at once, in all"
    )
    parser.add_argument("--address", help="a Ray cluster; without it this machine alone")
    parser.add_argument(
        "--no-limit", action="store_true", help="do not measure what the towers alone would do"
    )
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
