"""What the clients show on a terminal."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from miles_client.terminal import bar, can_redraw
from tests.clients.command import FAST, command, environment
from tests.clients.door import Door
from tests.clients.scraped import scraped
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S


def on_a_terminal(folder: Path, words: list[str], settings: dict[str, str]) -> str:
    """Everything that the command writes to its own terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(words[0], *FAST, *words[1:]),
        cwd=folder,
        env=environment(settings),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:
            pass  # on Linux, the other end is closed
        finally:
            os.close(ours)
        assert process.wait(LIMIT_S) in (0, 1)
    return seen.decode()


def test_the_scrapers_step_draws_a_bar(door: Door, candidates: Candidates, tmp_path: Path) -> None:
    """It fills as rows are scored, skipped rows are listed above it, and scored rows have no line."""
    candidates.add([{"title": None}, *scraped(6)])
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    seen = on_a_terminal(tmp_path, ["trigger_inference.py", "--batch", "3"], settings)
    assert "] 0/7" in seen
    assert "[#########################.....] 6/7" in seen
    assert "skipped " in seen
    assert "scored  " not in seen
    assert "\r\x1b[K6 scored, 1 skipped" in seen


def test_a_file_has_a_bar_with_rate_and_remaining_time(door: Door, tmp_path: Path) -> None:
    """Rows, rows per second and the time left, on one line that is redrawn."""
    (tmp_path / "v.csv").write_text("title\n" + "".join(f"Video {index}\n" for index in range(6)))
    seen = on_a_terminal(tmp_path, ["score_csv.py", "v.csv", "--batch", "3"], {"INFERENCE_API_URL": door.url})
    assert "[###############...............] 3/6 rows, " in seen
    assert "[##############################] 6/6 rows, " in seen
    assert "/s, 0 min 0 s left" in seen


def test_a_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapped line could not be redrawn: the bar gets shorter, then disappears, then the text is cut."""
    lines = {}
    for columns in (60, 20, 12, 6):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines[columns] = bar(3, 6, "3/6 rows")
    assert lines == {
        60: "\r\x1b[K[###############...............] 3/6 rows",
        20: "\r\x1b[K[####....] 3/6 rows",
        12: "\r\x1b[K3/6 rows",
        6: "\r\x1b[K3/6 r",
    }


def test_a_dumb_terminal_is_not_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's terminal, for example, shows control characters."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        assert can_redraw(terminal)
        monkeypatch.setenv("TERM", "dumb")
        assert not can_redraw(terminal)
