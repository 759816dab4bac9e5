"""Scores a CSV, JSON Lines or Parquet file through a running Miles, one row of results for each row.

    python score_csv.py videos.csv                       writes videos.scored.csv
    python score_csv.py videos.jsonl.gz                  also .csv.gz, .ndjson, .jsonl
    python score_csv.py videos.parquet scored.parquet    needs pyarrow
    python score_csv.py export.csv --map title=Headline --map view_count=Plays --thumbnails none
    python score_csv.py export.csv --dry-run             shows what would be sent, and sends nothing

Columns are matched by the names of a request's fields (title, description, thumbnail_url, view_count, ...);
use `--map` for other names. The first line of output says which columns are read. A CSV's delimiter is found
in its header. N/A, null and - mean unknown in numbers and times; `--suffixes` reads 1.2K.

The output has all rows and columns of the input in the same order, plus viral_score, predicted_velocity, low
and high (the interval around it), confidence, in_range (false: unlike the training data), image (used,
missing or failed), image_reason (such as http_404), warnings, model_version and error (why a row has no
score).

Finished rows are kept in `OUTPUT.part`. After an interruption, run the same command again: it continues where
it stopped and scores no row twice. Neither file is ever held in memory.

A single file, so that it can be copied; `pip install miles-client` installs it as miles-score-file. It
needs httpx. INFERENCE_API_URL (or --url) and MILES_API_KEY come from the environment or `.env`.

Exit codes: 0 all rows scored; 1 some rows have an error instead; 2 invalid setting or file; 3 the service did
not answer, run it again later; 130 and 143 stopped by SIGINT or SIGTERM, run it again to continue.
"""

import argparse
import codecs
import itertools
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from miles_client.files.columns import Columns, mapping, overview, requests_of
from miles_client.files.finished import Finished, sha256_of, whole_or_removed
from miles_client.files.progress import Progress
from miles_client.files.results import RESULTS, closing
from miles_client.files.scoring import ImageRules, Scoring, score_rest, with_images
from miles_client.files.tables import is_gzip, kind_of, opened_table
from miles_client.names import NULLS
from miles_client.service import Patience, Refusal, Unavailable, opened_service
from miles_client.settings import (
    DONE,
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
from miles_client.terminal import give_up_output, prepare_output


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    command = os.environ.get("MILES_COMMAND")  # ./miles score, which runs this file
    parser = argparse.ArgumentParser(
        prog=command,
        usage="%(prog)s [OPTIONS] INPUT [OUTPUT]   (--help lists them)",
        description=(__doc__ or "").replace("python score_csv.py", command or "python score_csv.py"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", type=Path, help="a .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet file")
    add("output", type=Path, nargs="?", help="default: INPUT.scored with the input's ending")
    add("--url", help="the service's URL; overrides INFERENCE_API_URL")
    add(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="the column of a field; may be repeated",
    )
    add(
        "--thumbnails",
        choices=["use", "none"],
        default="use",
        help="none: score without thumbnails (default: use)",
    )
    add(
        "--require", choices=["image"], help="image: a row without a usable thumbnail gets an error, no score"
    )
    add(
        "--retry-images",
        type=int,
        default=0,
        metavar="N",
        help="score rows up to N times more if a thumbnail timed out, was unreachable or got HTTP 429 or 5xx",
    )
    add("--prefix", default="", help="prefix of the new columns (default: none)")
    add("--limit", type=positive(int), metavar="N", help="only the first N rows")
    add("--dry-run", action="store_true", help="check the file, print the first row's request, send nothing")
    add(
        "--na",
        default="",
        metavar="TEXTS",
        help=f"more cells to read as unknown, separated by commas, in addition to {' '.join(NULLS)}",
    )
    add("--suffixes", action="store_true", help="read 1.2K, 3M and 1B as numbers")
    add("--batch", type=positive(int), default=64, help="rows per call, at most 256 (default: 64)")
    add("--delimiter", type=_delimiter, help="CSV delimiter (default: found in the header)")
    add("--encoding", type=_encoding, default="utf-8", help="CSV encoding (default: utf-8)")
    add("--timeout", type=positive(float), default=60.0, help="seconds per call (default: 60)")
    add(
        "--patience",
        type=positive(float),
        default=300.0,
        help="how long to wait for a sleeping service, in seconds (default: 300)",
    )
    add("--waits", type=seconds, default=list(WAITS_S), help="seconds between tries (default: 5,15,30,60)")
    return parser


def _delimiter(text: str) -> str:
    """One character; tab may be written as \\t."""
    found = "\t" if text in ("\\t", "tab") else text
    if len(found) != 1 or found in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r}: expected one character, such as ';' or '\\t'")
    return found


def _encoding(text: str) -> str:
    try:
        "".encode(text)  # codecs.lookup accepts base64 and the like, too
        return codecs.lookup(text).name
    except LookupError as exc:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an encoding such as cp1252 or utf-16") from exc


def target_of(options: argparse.Namespace) -> Path:
    """The output's path; raises `SettingError` if it exists or its type differs from the input's."""
    source: Path = options.input
    ending = "".join(source.suffixes[-2:] if is_gzip(source) else source.suffixes[-1:])
    target: Path = options.output or source.with_name(f"{source.name.removesuffix(ending)}.scored{ending}")
    if target.exists() and target.samefile(source):
        raise SettingError(f"{target} is the input: choose another output")
    if str(target) == "-" or (target.exists() and not target.is_file()):
        raise SettingError(f"{target} is not a file: name one to write")
    if target.exists():
        raise SettingError(f"{target} already exists: remove it or choose another output")
    if kind_of(target) != kind_of(source):
        raise SettingError(f"{target}: the output must have the type of the input ({ending})")
    return target


def score_file(options: argparse.Namespace, stop: StopSignals) -> int:
    """Score the whole file; returns the exit code."""
    source = options.input
    table = opened_table(source, options.delimiter, options.encoding)
    target = target_of(options)
    fields = mapping(table, options.map, thumbnails=options.thumbnails == "use")
    names = [options.prefix + name for name in RESULTS]
    if taken := [name for name in names if name in table.columns]:
        raise SettingError(f"{source} already has the columns {', '.join(taken)}: add --prefix miles_")
    columns = Columns(fields, options.na.split(",") if options.na else (), options.suffixes)
    # Reads everything once, so that a broken file fails before an hour of work.
    total = sum(1 for _ in itertools.islice(table.rows(), options.limit))
    print(f"{source}: {overview(table, fields)}", file=sys.stderr)
    if options.dry_run:
        said = f"{total} rows"
        for request in requests_of(itertools.islice(table.rows(), min(total, 1)), columns):
            found = (
                request.reason if isinstance(request, Refusal) else json.dumps(request, ensure_ascii=False)
            )
            said += f"; the first one's request: {found}"
        print(said)
        return DONE
    known = settings(os.environ, [Path.cwd() / ".env", Path(sys.argv[0]).parent / ".env"])
    service = opened_service(
        known | ({"INFERENCE_API_URL": options.url} if options.url else {}), options.timeout
    )
    purpose = {"input": sha256_of(source), "fields": fields, "results": names}
    purpose |= {"na": options.na, "suffixes": options.suffixes, "limit": options.limit}
    purpose |= {"require": options.require}
    rules = ImageRules(options.retry_images, options.waits[0], options.require == "image")
    with Finished(target.with_name(target.name + ".part"), purpose) as finished:
        progress = Progress(total, finished.count)
        scoring = Scoring(service, Patience(options.patience, options.waits), stop, progress)
        score = partial(with_images, scoring, rules=rules, stop=stop)
        for rows in score_rest(table, columns, finished, score, min(options.batch, 256), total):
            progress.advance(rows)
        unfinished = target.with_name(f"unfinished-{target.name}")
        with whole_or_removed(unfinished):
            table.write(unfinished, names, finished.results())
            lines, wrong = closing(finished.results(), columns.unknown)
            if sha256_of(source) != purpose["input"]:
                raise SettingError(
                    f"{source} was changed while it was scored, so the scores may be those of other rows: "
                    f"remove {finished.path} and run the command again"
                )
        unfinished.replace(target)
        finished.path.unlink()
    progress.note(f"{target}: {total - wrong} rows scored, {wrong} with an error{lines}")
    return ROWS_LEFT if wrong else DONE


def line_of(exc: Exception) -> str:
    """The error in one line; an `OSError` names its file, if it has one."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    prepare_output()
    options = arguments().parse_args(words)
    stop = StopSignals()
    stop.install()
    try:
        return score_file(options, stop)
    except (SettingError, OSError) as exc:
        code, said = WRONG_SETTING, line_of(exc)
    except Unavailable as exc:
        code = NO_SERVICE
        said = f"the service did not answer: {exc}; start it or correct --url, then run the command again"
    except Stopped:
        code, said = 128 + (stop.number or 0), "stopped; run the command again to continue"
    finally:
        give_up_output()
    with suppress(OSError):  # stderr may not be writable
        print(f"score_csv: {said}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
