"""Titles become the ids that the compiler takes, and the bundled ones are up to date."""

import json
from pathlib import Path

import pytest

from preprocessing.calibration import main, read_titles, token_ids
from preprocessing.text import BertTextTokenizer

BUNDLED = Path(__file__).parent.parent.parent / "models" / "calibration"


def test_bundled_ids_are_the_bundled_titles() -> None:
    """What the service's own tokenizer makes of them; other ids would calibrate another service."""
    found = json.loads((BUNDLED / "token_ids.json").read_text(encoding="utf-8"))
    titles = read_titles(BUNDLED / "titles.txt")
    assert len(titles) == 400
    assert found == {"format": 1, **token_ids(titles, BertTextTokenizer.from_vocabulary())}


def test_a_tab_parts_title_and_description(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The description is the second segment; empty lines are skipped."""
    (tmp_path / "titles.txt").write_text("one title\n\n  \nanother\twith words\n", encoding="utf-8")
    assert main([str(tmp_path / "titles.txt"), str(tmp_path / "ids.json")]) == 0
    assert "2 texts" in capsys.readouterr().out
    written = json.loads((tmp_path / "ids.json").read_text())
    assert written["token_type_ids"] == [[0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert [row[0] for row in written["input_ids"]] == [101, 101]


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (None, "cannot be read as text"),
        (b"\xff\xfe\xff", "cannot be read as text"),
        (b" \n", "holds no titles"),
    ],
)
def test_titles_that_cannot_be_read_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], contents: bytes | None, sentence: str
) -> None:
    """The file, the reason, exit status 1, and no file written."""
    path = tmp_path / "titles.txt"
    if contents is not None:
        path.write_bytes(contents)
    assert main([str(path), str(tmp_path / "ids.json")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: {sentence}")
    assert not (tmp_path / "ids.json").exists()
