"""What `make setup` installs: torch's CPU build if there is one, and nothing the second time."""

import os
import shutil
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import ROOT
from tests.support.process import answers, completed, free_port, started

INSTALLER = ROOT / "deploy" / "install-torch"
SHOWN = ROOT / "deploy" / "shown"
REQUIREMENTS = "torch==1.0\nnumpy==9.9  # never asked for\ntorchvision==1.0\n"
# Stands in for .venv/bin/python: succeeds and notes how pip was called.
PYTHON = '#!/bin/sh\n[ "$1" = -c ] || echo "$@" >>calls\n'


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[str]:
    """Two package indexes: /default has torch 1.0, /cpu has torch 1.0+cpu."""
    for index, version in (("default", "1.0"), ("cpu", "1.0+cpu")):
        for name in ("torch", "torchvision"):
            write_wheel(tmp_path / index / name, name, version)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with started(command, tmp_path / "log", lambda: answers(url), cwd=tmp_path):
        yield url


def write_wheel(folder: Path, name: str, version: str) -> None:
    folder.mkdir(parents=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def install(folder: Path, index: str, torch_index: str) -> tuple[int, list[str]]:
    """Run the installer into a new folder: its exit status, and what it installed."""
    folder.mkdir()
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index, "TORCH_INDEX": torch_index}
    environment |= {"PIP_TARGET": str(folder / "site"), "PIP_RETRIES": "0"}
    command = [INSTALLER, sys.executable, folder / "requirements.txt"]
    done = completed(command, env=environment)
    return done.returncode, sorted(path.stem for path in (folder / "site").glob("*.dist-info"))


def test_the_cpu_build_is_installed_where_its_index_answers(tmp_path: Path, indexes: str) -> None:
    """Otherwise the default index's build; an index that accepts connections and is silent counts as dead."""
    default, cpu = ["torch-1.0", "torchvision-1.0"], ["torch-1.0+cpu", "torchvision-1.0+cpu"]
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as other:
        dead = other.getsockname()[1]
        other.close()
        rows = {
            "both": (f"{indexes}/default", f"{indexes}/cpu", cpu),
            "dead": (f"{indexes}/default", f"http://127.0.0.1:{dead}/cpu", default),
            "silent": (f"{indexes}/default", f"http://127.0.0.1:{silent.getsockname()[1]}/cpu", default),
            "without": (f"{indexes}/default", f"{indexes}/nothing", default),
            "empty": (f"{indexes}/default", "", default),
            "only cpu": (f"{indexes}/nothing", f"{indexes}/cpu", cpu),
        }
        found = {name: install(tmp_path / name, *row[:2]) for name, row in rows.items()}
    assert found == {name: (0, row[2]) for name, row in rows.items()}


def test_a_missing_package_fails_the_installation(tmp_path: Path, indexes: str) -> None:
    status, installed = install(tmp_path / "missing", f"{indexes}/nothing", f"{indexes}/nothing")
    assert (status, installed) == (1, [])


def test_torch_comes_from_the_cpu_index_unless_another_is_named() -> None:
    """PyTorch's own index, and only torch's and torchvision's pins are looked up in it."""
    assert "${TORCH_INDEX-https://download.pytorch.org/whl/cpu}" in INSTALLER.read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A Makefile, its requirements, and a .venv whose Python notes how it is called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "deploy").mkdir()
    for script in (INSTALLER, SHOWN):
        shutil.copy(script, tmp_path / "deploy")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(checkout: Path, target: str) -> list[str]:
    (checkout / "calls").write_text("")
    completed(["make", target], cwd=checkout, check=True)
    calls = (checkout / "calls").read_text().splitlines()
    return ["torch" if "torch==" in call else call.rpartition(" ")[2] for call in calls]


def test_the_second_make_installs_nothing(checkout: Path) -> None:
    """A changed requirements file is installed again."""
    assert make(checkout, "setup") == ["torch", "requirements.txt"]
    assert make(checkout, "setup") == []
    assert make(checkout, "scale-setup") == ["requirements/scale.txt"]
    assert make(checkout, "scale-setup") == []
    (checkout / "requirements" / "constraints.txt").touch()
    assert make(checkout, "setup-dev") == ["torch", "requirements.txt", "requirements/dev.txt"]


def test_a_full_disk_is_reported_before_an_environment_is_made(tmp_path: Path) -> None:
    """venv itself would only say that a command failed."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = completed(["make", "venv", "VENV_MB=999999999"], cwd=tmp_path)
    assert "MB free here, .venv needs 999999999: free some space" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_second_serve_starts_the_service_at_once(checkout: Path) -> None:
    """The service itself checks a bundle that is newer than its checkpoint."""
    bundle = checkout / "models" / "compiled" / "x" / "bundle.json"
    bundle.parent.mkdir(parents=True)
    (checkout / "models" / "model_full.pt").touch()
    assert make(checkout, "serve")[-2:] == ["auto", "app.py"]
    bundle.touch()
    assert make(checkout, "serve") == ["app.py"]


def test_a_failed_installation_is_repeated(checkout: Path) -> None:
    """Without pip's success there is no stamp; the message names the next step."""
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(PYTHON + 'case "$*" in *torch==*) echo Read timed out. >&2; exit 1; esac\n')
    done = completed(["make", "setup"], cwd=checkout)
    assert done.returncode != 0
    assert "Check the network, then run the command again" in done.stderr
    python.write_text(PYTHON)
    assert make(checkout, "setup") == ["torch", "requirements.txt"]


def test_a_failed_installation_keeps_its_status_and_its_errors() -> None:
    """deploy/shown hides pip's standard output, and neither its exit status nor an unknown error."""
    done = completed([SHOWN, "sh", "-c", "echo Collecting a; echo broken >&2; exit 3"])
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "broken\npip failed: the reason is above\n"


def test_a_common_failure_is_one_line() -> None:
    """For a full disk, a dead proxy and a dead network; pip's own output is hidden."""
    failures = []
    for said, reason in {
        "OSError: [Errno 28] No space left on device": "no space left on the disk",
        "connection broken by 'ProxyError('Cannot connect to proxy.')'": "the proxy does not answer",
        "connection broken by 'NewConnectionError(Connection refused)'": "the package index does not answer",
        "connection broken by 'NameResolutionError(...)'": "the package index does not answer",
        "ReadTimeoutError: Read timed out.": "the package index does not answer",
    }.items():
        done = completed([SHOWN, "sh", "-c", f'echo "{said}" >&2; echo "{said}" >&2; exit 1'])
        if (
            done.returncode != 1
            or not done.stderr.startswith(f"pip failed: {reason}")
            or "\n" in done.stderr[:-1]
        ):
            failures.append((said, done))
    assert failures == []


def test_on_a_terminal_the_packages_are_counted() -> None:
    """One line, overwritten, shows the progress of the installation."""
    command = f"{SHOWN} sh -c 'echo Collecting a; echo Collecting b; exit 3'"
    done = completed(["script", "--quiet", "--return", "--command", command, "/dev/null"])
    assert done.returncode == 3
    assert "package 1: a" in done.stdout
    assert "package 2: b" in done.stdout
