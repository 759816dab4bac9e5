"""`make doctor` on real small checkouts: without an environment, with one, and with faults."""

import ast
import hashlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor import machine
from tests.support.process import completed
from tests.support.service import ROOT, environment, free_port

# Debian's own Python, or whichever .venv was made with; not .venv's.
BARE = str(Path(sys.base_prefix) / "bin" / "python3.11")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh clone as the doctor sees it: no .venv, no weights."""
    packages = ["deploy", "serving", "model", "features", "preprocessing"]
    for name in [*packages, "requirements", "requirements.txt"]:
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def examine(checkout: Path, python: str = BARE, **settings: str) -> tuple[int, dict[str, Any]]:
    """Exit status and findings by name; `-S` hides every package that is not the standard library's."""
    plain = ["-S"] if python == BARE else []
    # None of this machine's programs: asking its container engines takes longer than everything else.
    known = {"PYTHON": BARE, "PATH": str(checkout / "bin"), "MILES_PORT": str(free_port())}
    asked = environment() | known | settings
    done = completed([python, *plain, "-m", "deploy.doctor", "--json"], cwd=checkout, env=asked)
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert told["can_serve"] == (done.returncode == 0)
    return done.returncode, {finding["name"]: finding for finding in told["findings"]}


def with_environment(checkout: Path) -> str:
    """Our own .venv inside that checkout; returns its Python."""
    (checkout / ".venv").symlink_to(sys.prefix)
    return str(checkout / ".venv" / "bin" / "python")


def compiled(checkout: Path, processor: str) -> Path:
    """A checkpoint's file and beside it the manifest of a bundle that was compiled on `processor`."""
    weights = checkout / "models" / "model_full.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    digits = hashlib.sha256(b"weights").hexdigest()[:16]
    manifest = weights.parent / "compiled" / digits / "bundle.json"
    manifest.parent.mkdir(parents=True)
    report = {"origin": {"processor": processor}}
    manifest.write_text(json.dumps({"precision": {"text": "int8", "fusion": "f32"}, "report": report}))
    return manifest


def test_a_fresh_machine_with_python_can_serve(checkout: Path) -> None:
    """Before .venv exists nothing is a fault: make serve makes each missing thing."""
    status, found = examine(checkout)
    assert status == 0
    assert {found[name]["state"] for name in ("Packages", "Model", "Engine")} == {"note"}
    assert "make serve installs them" in found["Packages"]["remedy"]
    assert "make serve creates the demo" in found["Model"]["remedy"]
    assert "make serve creates .venv" in found["Python"]["says"]


def test_without_python_3_11_it_says_how_to_get_it(checkout: Path) -> None:
    """Another Python than 3.11 can run the doctor, not Miles."""
    status, found = examine(checkout, PYTHON="/nonexistent", PATH="/nonexistent")
    assert status == 1
    assert found["Python"]["state"] == "fault"
    assert "PYTHON=/path/to/python3.11" in found["Python"]["remedy"]


def test_optional_programs_are_named_with_what_needs_them(checkout: Path) -> None:
    """A missing program that only other targets need is not a fault; an installed one has its path."""
    _, found = examine(checkout)
    assert found["wrk"]["state"] == "absent"
    assert found["wrk"]["says"] == "for make bench"
    program = checkout / "bin" / "wrk"
    program.parent.mkdir()
    program.touch(0o755)
    _, found = examine(checkout)
    assert (found["wrk"]["state"], found["wrk"]["says"]) == ("ok", str(program))


def test_a_container_engine_counts_if_it_answers(checkout: Path) -> None:
    """docker without its daemon is installed and useless; the doctor asks it."""
    program = checkout / "bin" / "docker"
    program.parent.mkdir()
    for status, state in ((1, "absent"), (0, "ok")):
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
        _, found = examine(checkout)
        assert found["Containers"]["state"] == state
        assert "docker" in found["Containers"]["says"]


def test_a_taken_port_is_a_fault(checkout: Path) -> None:
    """The service could not listen, so the doctor says which port and how to move."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        status, found = examine(checkout, PORT=number)
    assert status == 1
    assert found["Port"]["state"] == "fault"
    assert number in found["Port"]["says"]
    assert "PORT=8000 make serve" in found["Port"]["remedy"]


def test_a_missing_checkpoint_is_a_fault(checkout: Path) -> None:
    """A file that MILES_CHECKPOINT names is not replaced by the demo."""
    status, found = examine(checkout, MILES_CHECKPOINT="/srv/mine.pt")
    assert (status, found["Model"]["state"]) == (1, "fault")
    assert "/srv/mine.pt" in found["Model"]["says"]


def test_the_environment_checks_the_settings(checkout: Path) -> None:
    """With .venv the service's own settings judge; the sentence is the service's."""
    status, found = examine(checkout, with_environment(checkout), MILES_TREADS="2")
    assert (status, found["Settings"]["state"]) == (1, "fault")
    assert "did you mean MILES_THREADS?" in found["Settings"]["says"]


def test_half_an_environment_does_not_count(checkout: Path, tmp_path: Path) -> None:
    """A Python that has some of our packages and not all leaves the settings to make serve."""
    (tmp_path / "some" / "pydantic_settings").mkdir(parents=True)
    (tmp_path / "some" / "pydantic_settings" / "__init__.py").touch()
    status, found = examine(checkout, PYTHONPATH=str(tmp_path / "some"))
    assert (status, found["Settings"]["state"]) == (0, "note")
    assert found["Settings"]["remedy"] == "make serve checks them"


def test_a_bundle_of_another_processor_is_reported(checkout: Path) -> None:
    """It serves here as it was compiled, and the doctor says where and how that was."""
    compiled(checkout, "Another CPU (INT8 with VNNI)")
    status, found = examine(checkout, with_environment(checkout))
    assert (status, found["Engine"]["state"]) == (0, "note")
    assert "text int8, fusion f32, on Another CPU" in found["Engine"]["says"]
    assert "make model" in found["Engine"]["remedy"]


def test_a_bundle_of_this_processor_is_fine(checkout: Path) -> None:
    """The doctor names the processor as the compiler does."""
    from model.compiled.bundle import processor

    compiled(checkout, processor())
    _, found = examine(checkout, with_environment(checkout))
    assert found["Engine"]["state"] == "ok"


def test_a_check_that_fails_is_reported_and_the_others_run(checkout: Path) -> None:
    """A manifest that is not JSON gives a line, never a traceback."""
    compiled(checkout, "x").write_text("{")
    status, found = examine(checkout)
    assert status == 0
    assert found["Engine"]["says"].startswith("check failed: JSONDecodeError")
    assert found["Port"]["state"] == "ok"


def test_its_output_ends_in_a_verdict(checkout: Path) -> None:
    """Of make doctor, without an environment."""
    shutil.copy(ROOT / "Makefile", checkout)
    asked = environment() | {"PORT": str(free_port()), "PYTHON": BARE}
    done = completed(["make", "--no-print-directory", "doctor"], cwd=checkout, env=asked)
    assert done.stdout.splitlines()[-1] == "make serve can run here."
    assert done.returncode == 0


def test_an_older_python_can_read_it() -> None:
    """The doctor runs where 3.11 is missing: it has the syntax of 3.9, and annotations are not evaluated."""
    evaluated = []
    for module in ROOT.glob("deploy/doctor/*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"), feature_version=(3, 9))
        if not any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body):
            evaluated.append(module.name)
    assert evaluated == []


def test_a_feature_counts_only_if_every_core_has_it(tmp_path: Path) -> None:
    """A program on mixed processors can only use what the weakest core has."""
    (tmp_path / "cpuinfo").write_text(
        "model name\t: Example\nflags\t: avx2 avx512f amx_int8\n\nflags\t: avx512f avx2\n"
    )
    assert machine.cpu_name(tmp_path) == "Example"
    assert machine.cpu_features(tmp_path) == ["AVX2", "AVX-512"]


def test_the_lowest_limit_of_nested_control_groups_counts(tmp_path: Path) -> None:
    """cgroup v2: a parent's limit holds for its children, `max` means none; v1: a huge number means none."""
    rows = [
        ("0::/out/in\n", {"out/memory.max": "1000000\n", "out/in/memory.max": "max\n"}, 1_000_000),
        ("4:memory:/box\n", {"memory/box/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("4:memory:/box\n", {"memory/box/memory.limit_in_bytes": "2048\n"}, 2048),
    ]
    for number, (membership, files, expected) in enumerate(rows):
        proc, groups = tmp_path / str(number) / "proc", tmp_path / str(number) / "cgroup"
        written = {groups / name: content for name, content in files.items()}
        for path, content in {proc / "self/cgroup": membership, **written}.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        assert machine.memory_limit(proc, groups) == expected


def test_a_server_outside_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian keeps PostgreSQL's server in a folder per version."""
    monkeypatch.setenv("PATH", str(tmp_path))
    server = tmp_path / "15" / "bin" / "postgres"
    server.parent.mkdir(parents=True)
    server.touch()
    monkeypatch.setitem(machine.MORE_FOLDERS, "postgres", f"{tmp_path}/*/bin/postgres")
    assert machine.find_program("postgres") == str(server)
    assert os.environ["PATH"] == str(tmp_path)
