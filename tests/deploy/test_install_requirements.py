"""The installer: which index it asks, when it does nothing, and what it says when it cannot."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deploy.install_requirements import (
    CPU_INDEX,
    RequirementsError,
    answers,
    closure,
    digest,
    pins,
    torch_index,
    torch_pins,
)
from tests.support.house import ROOT

INSTALLER = ROOT / "deploy" / "install_requirements.py"


class Index(BaseHTTPRequestHandler):
    """Answers 200 for /torch/, 404 for the rest."""

    def do_GET(self) -> None:
        """One empty answer."""
        self.send_response(200 if self.path == "/torch/" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def index() -> Iterator[str]:
    """The address of a package index that answers."""
    with HTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_index_that_answers_is_used(index: str) -> None:
    """200 in time is an answer; an error status is none."""
    assert answers(f"{index}/torch/")
    assert not answers(f"{index}/elsewhere/")


def test_a_silent_index_is_given_up_in_time() -> None:
    """A server that accepts and says nothing costs the probe's seconds and no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        assert not answers(f"http://127.0.0.1:{silent.getsockname()[1]}/torch/", seconds=0.3)
        assert time.monotonic() - started < 2


def test_the_operator_may_name_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """TORCH_INDEX is taken unasked; empty means pip's default index."""
    monkeypatch.setenv("TORCH_INDEX", "https://wheels.example/cu")
    assert torch_index() == "https://wheels.example/cu"
    monkeypatch.setenv("TORCH_INDEX", "")
    assert torch_index() is None


def test_torch_and_torchvision_come_from_the_cpu_index() -> None:
    """Both are asked for with their pins, and the index is PyTorch's own."""
    assert CPU_INDEX == "https://download.pytorch.org/whl/cpu"
    names = [pin.partition("==")[0] for pin in torch_pins(ROOT / "requirements.txt")]
    assert names == ["torch", "torchvision"]
    assert set(torch_pins(ROOT / "requirements.txt")) <= set(pins(ROOT / "requirements/constraints.txt"))


def test_a_change_of_content_is_noticed(tmp_path: Path) -> None:
    """The digest follows the content of every included file, not its time of change."""
    (tmp_path / "constraints.txt").write_text("a==1\n")
    file = tmp_path / "requirements.txt"
    file.write_text("-c constraints.txt\na==1\n")
    before = digest(file)
    file.touch()
    assert digest(file) == before
    (tmp_path / "constraints.txt").write_text("a==2\n")
    assert digest(file) != before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says which file is not there."""
    with pytest.raises(RequirementsError, match=r"absent\.txt: no such file"):
        closure(tmp_path / "absent.txt")


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of a new, empty virtual environment without pip."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    return tmp_path / "venv" / "bin" / "python"


def install(python: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Run the installer as make does."""
    return subprocess.run([python, INSTALLER, file], check=False, capture_output=True, text=True, timeout=120)


def test_the_second_run_does_nothing(environment: Path, tmp_path: Path) -> None:
    """The first run calls pip, having made it where venv left none; the second returns at once."""
    file = tmp_path / "requirements-none.txt"
    file.write_text("# nothing\n")
    first, second = install(environment, file), install(environment, file)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "installing requirements-none.txt" in first.stdout
    assert second.stdout == ""


def test_a_package_that_is_not_to_be_had_is_one_clear_error(environment: Path, tmp_path: Path) -> None:
    """No stamp is left, so the next run tries again; no traceback."""
    file = tmp_path / "requirements-wrong.txt"
    file.write_text("--no-index\nno-such-package-of-miles==1.0\n")
    done = install(environment, file)
    assert done.returncode == 1
    assert "pip failed with exit status 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "venv").glob(".installed-*")) == []


def test_the_installer_leaves_the_systems_python_alone() -> None:
    """Outside a virtual environment it refuses."""
    system = shutil.which("python3", path=f"{sys.base_prefix}/bin")
    assert system is not None
    done = install(Path(system), ROOT / "requirements.txt")
    assert done.returncode == 2
    assert "virtual environment" in done.stderr
