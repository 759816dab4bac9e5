"""What a person at a terminal sees of the clients."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.clients.command import CLIENTS, FAST, environment
from tests.clients.door import Door
from tests.clients.scraped import scraped
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S


def on_a_terminal(folder: Path, words: list[str], settings: dict[str, str]) -> str:
    """Everything that the command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(CLIENTS / words[0]), *FAST, *words[1:]]
    with subprocess.Popen(
        command, cwd=folder, env=environment(settings), stdin=theirs, stdout=theirs, stderr=theirs
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
    """It fills as rows are scored, skipped rows stand above it, and no scored row has a line."""
    candidates.add([{"title": None}, *scraped(6)])
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    seen = on_a_terminal(tmp_path, ["trigger_inference.py", "--batch", "3"], settings)
    assert "] 0/7" in seen
    assert "[#########################.....] 6/7" in seen
    assert "skipped " in seen
    assert "scored  " not in seen
    assert "\r\x1b[K6 scored, 1 skipped" in seen


def test_a_file_has_a_bar_with_rate_and_remaining_time(door: Door, tmp_path: Path) -> None:
    """Rows, rows per second and what is left, on one line that is drawn over."""
    (tmp_path / "v.csv").write_text("title\n" + "".join(f"Video {index}\n" for index in range(6)))
    seen = on_a_terminal(tmp_path, ["score_csv.py", "v.csv", "--batch", "3"], {"INFERENCE_API_URL": door.url})
    assert "[###############...............] 3/6 rows, " in seen
    assert "[##############################] 6/6 rows, " in seen
    assert "/s, 0 min 0 s left" in seen
