"""Says what this machine has for Miles, what is missing and how to get it.

    make doctor                 the same, with the best Python that is there
    make doctor ARGS=--json     for programs

Exit status 0 when `make serve` can run. Nothing is installed, changed or asked of the network. It runs before
`.venv` exists, on Python 3.9 or newer, with the standard library alone; what only the environment can tell is
then left for `make serve`.
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

from deploy.doctor import machine
from deploy.doctor.finding import ABSENT, FAULT, GIGABYTE, NOTE, OK, Finding, size
from deploy.doctor.served_model import DEFAULT_CHECKPOINT, ROOT, engine, model

PYTHON = (3, 11)
PACKAGES_BYTES = 3 * GIGABYTE  # what requirements.txt installs
MODEL_BYTES = 1 * GIGABYTE  # the demo checkpoint and its compiled bundle, with room
MEMORY_BYTES = 1 * GIGABYTE  # resident memory as benchmarks/README.md has it, and the cache at its default
ENGINES = ("docker", "podman", "buildah")
# program names, what needs it, and its package on Debian
PROGRAMS = [
    (("git",), "clone, make audit, uploading a Space", "git"),
    (("wrk",), "make bench", "wrk"),
    (("node",), "using clients/typescript and clients/nextjs", "nodejs npm"),
    (("chromium", "chromium-browser", "google-chrome"), "the page's tests", "chromium"),
    (("postgres",), "the scraper's tests", "postgresql"),
]


def python() -> Finding:
    """The Python that make will use for .venv."""
    ours = ROOT / ".venv" / "bin" / "python"
    if ours.exists():
        if _version_of(str(ours)) == PYTHON:
            return Finding("Python", OK, ".venv holds Python 3.11")
        return Finding("Python", FAULT, ".venv does not hold Python 3.11", "rm -r .venv, then make serve")
    for name in (os.environ.get("PYTHON"), "python3.11", "python3", "python"):
        if name and shutil.which(name) and _version_of(name) == PYTHON:
            return _can_make_environments(name)
    found = ".".join(map(str, sys.version_info[:2]))
    remedy = "install Python 3.11, or name it: make PYTHON=/path/to/python3.11 serve"
    return Finding("Python", FAULT, f"Miles needs Python 3.11; here is {found} and no 3.11", remedy)


def _can_make_environments(name: str) -> Finding:
    if _succeeds([name, "-c", "import venv, ensurepip"]):
        return Finding("Python", OK, f"{name} is 3.11; make serve makes .venv with it")
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
    """The processor and what decides which arithmetic is fast on it."""
    features = machine.cpu_features()
    says = f"{machine.cpu_name()}: {', '.join(features) or 'none of the features that speed up int8 or bf16'}"
    fast = any("VNNI" in name or "AMX" in name or "dot" in name for name in features)
    return Finding("Processor", OK if fast else NOTE, says, "" if fast else "it works, int8 gains less")


def threads() -> Finding:
    """How many threads a forward takes."""
    from serving.cpu import usable_cpus

    seen, usable, wished = os.cpu_count() or 1, usable_cpus(), os.environ.get("MILES_THREADS")
    says = f"{usable} of {seen} processors may be used (affinity, cgroup quota)"
    return Finding("Threads", OK, f"MILES_THREADS={wished}; {says}" if wished else says)


def memory() -> Finding:
    """What may be used, by the machine and by the container's limit."""
    free, limit = machine.available_memory(), machine.memory_limit()
    known = [size for size in (free, limit) if size is not None]
    says = f"{size(free)} available, " + (f"limit {size(limit)}" if limit else "no limit")
    if not known or min(known) >= MEMORY_BYTES:
        return Finding("Memory", OK, says)
    return Finding("Memory", NOTE, says, "serving wants about 1 GiB; a smaller MILES_CACHE_BYTES helps")


def disk() -> Finding:
    """Room for what make serve still has to write."""
    free = machine.free_disk(ROOT)
    needed = 0 if _in_environment() else PACKAGES_BYTES
    needed += 0 if os.environ.get("MILES_CHECKPOINT") or (ROOT / DEFAULT_CHECKPOINT).exists() else MODEL_BYTES
    says = f"{size(free)} free, {size(needed) if needed else 'nothing'} still to be written"
    if free >= needed:
        return Finding("Disk", OK, says)
    return Finding("Disk", FAULT, says, f"make room where {ROOT.name} lies")


def port() -> Finding:
    """Whether the service's port can be had."""
    host, number = os.environ.get("MILES_HOST") or "0.0.0.0", os.environ.get("MILES_PORT") or "7860"  # noqa: S104  the documented default
    if not number.isdigit() or not 1 <= int(number) <= 65535:
        return Finding("Port", FAULT, f"{number!r} is no port", "PORT=8000 make serve")
    try:
        free = machine.port_is_free(host, int(number))
    except OSError as exc:
        return Finding("Port", FAULT, f"{number} cannot be used ({exc})", "PORT=8000 make serve")
    if free:
        return Finding("Port", OK, f"{number} is free")
    return Finding(
        "Port",
        FAULT,
        f"{number} of {host} is taken",
        "stop what listens there, or move: PORT=8000 make serve",
    )


def settings() -> Finding:
    """Whether the service accepts the MILES_ variables that are set."""
    given = sorted(name for name in os.environ if name.startswith("MILES_"))
    says = f"{', '.join(given)} set" if given else "all at their defaults"
    try:
        from serving.settings import Settings, SettingsError
    except ImportError:  # no environment yet, or one that is half made
        return Finding("Settings", NOTE, says, "make serve checks them")
    try:
        Settings.from_environment()
    except SettingsError as exc:
        return Finding("Settings", FAULT, str(exc), "DEPLOYMENT_GUIDE.md has every setting")
    return Finding("Settings", OK, says)


def containers() -> Finding:
    """An engine that builds and runs images; one without its daemon is of no use."""
    installed = [name for name in ENGINES if machine.find_program(name)]
    working = [name for name in installed if _succeeds([name, "info"])]
    if working:
        return Finding("Containers", OK, f"{working[0]} answers")
    says = "for containers and make container-test"
    if installed:
        return Finding(
            "Containers", ABSENT, f"{says}: {', '.join(installed)} does not answer", "start its daemon"
        )
    return Finding("Containers", ABSENT, says, _how_to_install(ENGINES, "podman"))


def programs() -> list[Finding]:
    """Programs that serving does not need and other targets do."""
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
    """Every finding; a check that itself fails is a note, because a doctor who faints helps nobody."""
    found = []
    for check in CHECKS:
        try:
            found.append(check())
        except Exception as exc:  # what a stranger's machine can do is not known beforehand
            found.append(
                Finding(check.__name__.capitalize(), NOTE, f"cannot tell: {type(exc).__name__}: {exc}")
            )
    return found + programs()


def report(findings: Sequence[Finding]) -> str:
    """The findings as lines for a person, the verdict last."""
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
    """Print the findings; 0 when none of them keeps `make serve` from running."""
    parser = argparse.ArgumentParser(prog="make doctor", description="What this machine has for Miles.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if os.environ.get("PORT"):  # as make serve takes it
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
