"""Turns titles into the token ids that `python -m model.compile --calibration` takes.

    python -m preprocessing.calibration TITLES.txt IDS.json

One text per line: a title, or a title, a tab and a description. The network's package imports nothing of ours
and so knows no tokenizer; ids are how texts reach it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from preprocessing.text import BertTextTokenizer

FORMAT = 1


class TitlesError(ValueError):
    """A file of titles that cannot be used; names the file and what is wrong with it."""


def token_ids(lines: Sequence[str], tokenizer: BertTextTokenizer) -> dict[str, list[list[int]]]:
    """`input_ids` and `token_type_ids` of each line, unpadded."""
    texts = []
    for line in lines:
        title, _, description = line.partition("\t")
        texts.append(tokenizer.encode(title, description))
    return {
        "input_ids": [list(text.input_ids) for text in texts],
        "token_type_ids": [list(text.token_type_ids) for text in texts],
    }


def read_titles(path: Path) -> list[str]:
    """The lines of `path` that hold more than white space. Raises `TitlesError`."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as exc:
        raise TitlesError(f"{path}: cannot be read as text ({exc})") from exc
    if not lines:
        raise TitlesError(f"{path}: holds no titles, expected one per line")
    return lines


def write_ids(path: Path, ids: dict[str, list[list[int]]]) -> None:
    """Write `ids` with one text per line, so that a change to one text is a change to one line."""
    columns = ",\n".join(
        f'"{name}": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]"
        for name, rows in ids.items()
    )
    path.write_text(f'{{"format": {FORMAT},\n{columns}}}\n', encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Tokenise and write; the exit status is 1 after an error, which goes to stderr in one line."""
    parser = argparse.ArgumentParser(prog="python -m preprocessing.calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("titles", type=Path, help="a title per line, with a tab and a description if wanted")
    parser.add_argument("out", type=Path, help="the JSON file to write")
    options = parser.parse_args(arguments)
    try:
        ids = token_ids(read_titles(options.titles), BertTextTokenizer.from_vocabulary())
        write_ids(options.out, ids)
    except (TitlesError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(f"{options.out}: {len(ids['input_ids'])} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
