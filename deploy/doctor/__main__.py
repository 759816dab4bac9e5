"""Reports what this machine has for Miles, what is missing and how to get it.

    make doctor                 with the best Python available
    make doctor ARGS=--json     for programs

Exit status 0 if `make serve` can run. Installs and changes nothing, and does not use the network. Checks that
need the environment's packages are left to `make serve` until `.venv` exists.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from deploy.doctor import ABSENT, FAULT, GIGABYTE, NOTE, OK, Finding, machine, size
from deploy.doctor.served_model import DEFAULT_CHECKPOINT, ROOT, engine, model

PYTHON = (3, 11)
PACKAGES_BYTES = 3 * GIGABYTE  # what requirements.txt installs
MODEL_BYTES = 1 * GIGABYTE  # the demo checkpoint and its compiled bundle, with room
MEMORY_BYTES = 1 * GIGABYTE  # memory in benchmarks/README.md plus the default cache
ENGINES = ("docker", "podman", "buildah")
# names of the program, what it is for, and its Debian package
PROGRAMS = [
    (("git",), "clone, make audit, uploading a Space", "git"),
    (("wrk",), "make bench", "wrk"),
    (("node",), "using clients/typescript and clients/nextjs", "nodejs npm"),
    (("chromium-headless-shell", "chromium"), "the page's tests", "chromium-headless-shell"),
    (("postgres",), "the scraper's tests", "postgresql"),
]


def python() -> Finding:
    """The Python of .venv, or the one that make will create it with."""
    ours = ROOT / ".venv" / "bin" / "python"
    if ours.exists():
        if _version_of(str(ours)) == PYTHON:
            return Finding("Python", OK, ".venv has Python 3.11")
        return Finding("Python", FAULT, ".venv does not have Python 3.11", "rm -r .venv, then make serve")
    for name in (os.environ.get("PYTHON"), "python3.11", "python3", "python"):
        if name and shutil.which(name) and _version_of(name) == PYTHON:
            return _can_make_environments(name)
    found = ".".join(map(str, sys.version_info[:2]))
    remedy = "install Python 3.11, or name it: make PYTHON=/path/to/python3.11 serve"
    return Finding("Python", FAULT, f"Python 3.11 not found (this is {found})", remedy)


def _can_make_environments(name: str) -> Finding:
    if _succeeds([name, "-c", "import venv, ensurepip"]):
        return Finding("Python", OK, f"{name} is 3.11; make serve creates .venv with it")
    remedy = "on Debian and Ubuntu: apt install python3.11-venv"
    return Finding("Python", FAULT, f"{name} is 3.11 but cannot make virtual environments", remedy)


def packages() -> Finding:
    """Whether the packages for serving are installed, by make's stamp."""
    stamp = ROOT / ".venv" / ".installed-requirements"
    files = [ROOT / "requirements.txt", *ROOT.glob("requirements/*.txt")]
    if not _in_environment() or not stamp.exists():
        return Finding("Packages", NOTE, "not installed yet", "make serve installs them (minutes)")
    if stamp.stat().st_mtime >= max(file.stat().st_mtime for file in files):
        return Finding("Packages", OK, "requirements.txt is installed")
    return Finding("Packages", NOTE, "requirements files have changed", "make serve installs the changes")


def processor() -> Finding:
    """The processor, and its instructions for fast int8 and bf16."""
    features = machine.cpu_features()
    says = f"{machine.cpu_name()}: {', '.join(features) or 'no instructions for fast int8 or bf16'}"
    fast = any("VNNI" in name or "AMX" in name or "dot" in name for name in features)
    return Finding(
        "Processor",
        OK if fast else NOTE,
        says,
        "" if fast else "Miles works, but int8 is not much faster than float32",
    )


def threads() -> Finding:
    """The number of threads of a forward."""
    from serving.resources import usable_cpus

    seen, usable, wished = os.cpu_count() or 1, usable_cpus(), os.environ.get("MILES_THREADS")
    says = f"{usable} of {seen} processors usable (affinity, cgroup quota)"
    return Finding("Threads", OK, f"MILES_THREADS={wished}; {says}" if wished else says)


def memory() -> Finding:
    """Available memory, and the container's limit."""
    free, limit = machine.available_memory(), machine.memory_limit()
    known = [size for size in (free, limit) if size is not None]
    says = f"{size(free)} available, " + (f"limit {size(limit)}" if limit else "no limit")
    if not known or min(known) >= MEMORY_BYTES:
        return Finding("Memory", OK, says)
    return Finding("Memory", NOTE, says, "serving needs about 1 GiB; a smaller MILES_CACHE_BYTES helps")


def disk() -> Finding:
    """Free disk space for what make serve still has to write."""
    free = shutil.disk_usage(ROOT).free
    needed = 0 if _in_environment() else PACKAGES_BYTES
    needed += 0 if os.environ.get("MILES_CHECKPOINT") or (ROOT / DEFAULT_CHECKPOINT).exists() else MODEL_BYTES
    says = f"{size(free)} free, {size(needed) if needed else 'nothing'} needed"
    if free >= needed:
        return Finding("Disk", OK, says)
    return Finding("Disk", FAULT, says, f"free disk space on the file system of {ROOT.name}")


def port() -> Finding:
    """Whether the service's port is free."""
    host, number = os.environ.get("MILES_HOST") or "0.0.0.0", os.environ.get("MILES_PORT") or "7860"  # noqa: S104  the documented default
    if not number.isdigit() or not 1 <= int(number) <= 65535:
        return Finding("Port", FAULT, f"{number!r} is not a port number", "PORT=8000 make serve")
    try:
        free = machine.port_is_free(host, int(number))
    except OSError as exc:
        return Finding("Port", FAULT, f"{number} cannot be used ({exc})", "PORT=8000 make serve")
    if free:
        return Finding("Port", OK, f"{number} is free")
    remedy = "stop the program that listens there, or use another port: PORT=8000 make serve"
    return Finding("Port", FAULT, f"{number} of {host} is in use", remedy)


def settings() -> Finding:
    """Whether the service accepts the MILES_ variables that are set."""
    given = sorted(name for name in os.environ if name.startswith("MILES_"))
    says = f"{', '.join(given)} set" if given else "all settings at their defaults"
    try:
        from serving.settings import Settings, SettingsError
    except ImportError:  # no environment yet, or an incomplete one
        return Finding("Settings", NOTE, says, "make serve checks them")
    try:
        Settings.from_environment()
    except SettingsError as exc:
        return Finding("Settings", FAULT, str(exc), "docs/settings.md lists every setting")
    return Finding("Settings", OK, says)


def containers() -> Finding:
    """A container engine that answers; one without its daemon cannot build."""
    installed = [name for name in ENGINES if machine.find_program(name)]
    working = [name for name in installed if _succeeds([name, "info"])]
    if working:
        return Finding("Containers", OK, f"{working[0]} works")
    says = "for building images and make container-test"
    if installed:
        says = f"{says}: {', '.join(installed)} does not answer"
        return Finding("Containers", ABSENT, says, "start its daemon")
    return Finding("Containers", ABSENT, says, _how_to_install(ENGINES, "podman"))


def programs() -> list[Finding]:
    """Programs that only other make targets need."""
    found = []
    for names, purpose, package in PROGRAMS:
        path = machine.find_program(*names)
        remedy = "" if path else _how_to_install(names, package)
        found.append(Finding(names[0], OK if path else ABSENT, path or f"for {purpose}", remedy))
    return found


CHECKS: list[Callable[[], Finding]] = [
    *(python, packages, processor, threads, memory, disk),
    *(port, settings, model, engine, containers),
]


def examine() -> list[Finding]:
    """Run every check; one that fails unexpectedly becomes a note, so that the others are still reported."""
    found = []
    for check in CHECKS:
        try:
            found.append(check())
        except Exception as exc:  # an unknown machine can fail in any way
            reason = f"check failed: {type(exc).__name__}: {exc}"
            found.append(Finding(check.__name__.capitalize(), NOTE, reason))
    return found + programs()


def report(findings: Sequence[Finding]) -> str:
    """The findings as text, with the verdict in the last line."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:7}{finding.name:11}{finding.says}")
        lines += [f"{'':18}-> {finding.remedy}"] if finding.remedy else []
    faults = [finding.name for finding in findings if finding.state == FAULT]
    verdict = (
        f"make serve cannot run here yet: {', '.join(faults)}." if faults else "make serve can run here."
    )
    return "\n".join([*lines, "", verdict])


def main(arguments: Sequence[str]) -> int:
    """Print the findings; 0 if `make serve` can run."""
    parser = argparse.ArgumentParser(
        prog="./miles doctor", description="Reports what this machine has for Miles and what is missing."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if os.environ.get("PORT"):  # as for make serve
        os.environ["MILES_PORT"] = os.environ["PORT"]
    findings = examine()
    can_serve = all(finding.state != FAULT for finding in findings)
    shown = {"can_serve": can_serve, "findings": [asdict(finding) for finding in findings]}
    print(json.dumps(shown, indent=2) if chosen.json else report(findings))
    return 0 if can_serve else 1


def _in_environment() -> bool:
    return Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()


def _version_of(program: str) -> tuple[int, ...] | None:
    asked = [program, "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603  a list, no shell
        return tuple(int(part) for part in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _how_to_install(names: Sequence[str], package: str) -> str:
    return f"apt install {package}" if shutil.which("apt-get") else f"install {' or '.join(names)}"


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
