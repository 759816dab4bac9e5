"""What the tests do about a program that is not there."""

from pathlib import Path

import pytest

from tests.support.system_programs import require_program

NOWHERE = "miles-no-such-program"


def test_program_on_the_path_is_found() -> None:
    """A program that is here is used as it is."""
    assert Path(require_program("sh", debian="dash")).name == "sh"


def test_program_beside_the_path_is_found(tmp_path: Path) -> None:
    """A folder per version is looked into."""
    program = tmp_path / "17" / "bin" / NOWHERE
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert require_program(NOWHERE, debian="none", beside=[f"{tmp_path}/*/bin"]) == str(program)


def test_missing_program_is_one_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside CI the tests that need it are left out."""
    monkeypatch.setenv("CI", "")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match=f"apt-get install {NOWHERE}"):
        require_program(NOWHERE, debian=NOWHERE)


def test_missing_program_is_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where skips go unread, a missing program fails the run."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(pytest.fail.Exception, match=f"apt-get install {NOWHERE}"):
        require_program(NOWHERE, debian=NOWHERE)
