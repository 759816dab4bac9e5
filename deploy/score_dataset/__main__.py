r"""Scores a CSV or Parquet file, a folder of them, or a PostgreSQL table, on all cores.

    ./miles score-dataset videos.csv scored/
    ./miles score-dataset exports/ scored/ --map title=Headline --keep id --keep channel
    ./miles score-dataset videos.parquet scored/ --address auto     on the cluster that runs here
    ./miles score-dataset postgresql://me@db/app scored/ --table candidates
    ./miles score-dataset postgresql://me@db/app postgresql://me@db/app --table candidates \
        --table-out scores --state state/

Ray Data hands parts of the input to scoring processes, one for every `--threads` cores. Each runs the
service's own predictor, so a score is the one that `/predict` gives. Memory does not grow with the number of
rows. OUT is a folder of Parquet files, which every machine of the cluster must be able to write to; the
column `row` is the row number in the input, from 0.

To resume an interrupted run, run the same command again: at most 64 rows per process are scored twice. Rows
that cannot be scored go to OUT/_rejected with the reason. Rows without the time at which their counts were
read all get the time of the first run.

A table is read in the order of its key. If OUT is a database, each part is written in one transaction, and
the folder `--state` keeps a copy. Passwords come from PGPASSWORD or libpq's password file.

The number of processes does not change which rows are scored. It may change a few scores by thousandths,
because videos share batches; with `--exact` each video has a forward of its own, which is slower and
reproducible to the last digit.

MILES_ settings apply as for the service. The last line of output is JSON with rows, seconds, and rows per
second and core (including the start of the processes). Exit codes: 0 every row was scored; 1 some were
rejected; 2 a setting or the input is wrong; 130 and 143 stopped by a signal.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:  # imported here, so that help and mistakes appear at once
        from deploy.score_dataset.job import JobError
        from deploy.score_dataset.postgres import Address
        from deploy.score_dataset.run import score
        from serving.settings import Settings, SettingsError
    except ModuleNotFoundError as exc:
        if exc.name not in ("ray", "pyarrow", "psycopg"):
            raise
        print("scoring a dataset needs Ray: make scale-setup", file=sys.stderr)
        return 2
    try:
        options.input = Address.of(options.input) or Path(options.input)
        options.output = Address.of(options.output) or Path(options.output)
        summary = score(options, Settings.from_environment())
    except (JobError, SettingsError) as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to resume", file=sys.stderr)
        return 130
    print(json.dumps(summary))
    return 1 if summary["rejected"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./miles score-dataset",
        usage="%(prog)s [OPTIONS] IN OUT   (--help lists them)",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", metavar="IN", help="a .csv or .parquet file, a folder of either, or postgresql://...")
    add("output", metavar="OUT", help="a new folder, the folder of the same job, or postgresql://...")
    add("--table", metavar="NAME", help="table to read, if IN is a database")
    add("--query", metavar="SELECT", help="query to read instead of --table; needs --key")
    add("--key", metavar="COLUMN", help="column that identifies a row (default: the table's primary key)")
    add("--table-out", metavar="NAME", help="table to write, if OUT is a database; created if missing")
    add("--state", type=Path, metavar="FOLDER", help="folder for the job's state, if OUT is a database")
    add("--map", action="append", default=[], metavar="FIELD=COLUMN", help="column of a request field")
    add("--keep", action="append", default=[], metavar="COLUMN", help="column to copy into the results")
    add(
        "--require",
        action="append",
        default=[],
        choices=["text", "image", "scalars"],
        help="reject rows without this modality",
    )
    add(
        "--thumbnails",
        choices=["fetch", "none"],
        default="fetch",
        help="download thumbnails (default: fetch)",
    )
    add("--exact", action="store_true", help="reproducible to the last digit; slower")
    add("--observed-at", default="", metavar="TIME", help="ISO 8601 time at which the counts were read")
    add("--part-rows", type=_positive, default=2048, help="rows per part (default: 2048)")
    add("--threads", type=_positive, default=1, help="cores per process (default: 1)")
    add("--workers", type=_positive, help="number of processes (default: as many as the cores allow)")
    add("--per-host", type=_positive, default=32, help="concurrent downloads from one host (default: 32)")
    add("--address", help="address of a Ray cluster (default: this machine only)")
    return parser


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
