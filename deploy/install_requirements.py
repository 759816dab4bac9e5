#!/usr/bin/env python3
"""Installs pinned requirements into the virtual environment of the Python that runs it.

    .venv/bin/python deploy/install_requirements.py requirements.txt

make and the Dockerfile both come here. PyPI's torch for Linux is a CUDA build of several gigabytes; the CPU
builds lie on PyTorch's own index. So torch and torchvision are installed from there first, and everything
else from the default index after them: what is already met is left alone, so pip never swaps one build for
the other. Where PyTorch's index does not answer within three seconds, the default index serves them too.

`TORCH_INDEX=URL` names another index for a fresh environment, for instance a CUDA one; `TORCH_INDEX=` (empty)
names the default one. A second run with unchanged files returns at once: a stamp holds their digest.
"""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3
TORCH_PACKAGES = ("torch", "torchvision")


class RequirementsError(Exception):
    """Requirements that cannot be installed: names the file, the cause and the next step."""


def closure(path: Path) -> list[Path]:
    """`path` and every requirements or constraints file that it includes, each once, itself first."""
    found = [path]
    for line in _lines(path):
        option, _, target = line.partition(" ")
        if option in ("-r", "-c"):
            found += [file for file in closure(_beside(path, target)) if file not in found]
    return found


def _beside(path: Path, target: str) -> Path:
    """The file that `path` includes as `target`."""
    return Path(os.path.normpath(path.parent / target.strip()))


def pins(path: Path) -> Iterator[str]:
    """Every `name==version` that installing `path` asks for; constraints only limit, so they do not count."""
    for line in _lines(path):
        option, _, target = line.partition(" ")
        if option == "-r":
            yield from pins(_beside(path, target))
        elif not option.startswith("-"):
            yield line


def torch_pins(path: Path) -> list[str]:
    """The pins that have a CPU build of their own."""
    return [pin for pin in pins(path) if pin.partition("==")[0] in TORCH_PACKAGES]


def digest(path: Path) -> str:
    """sha256 over what decides an installation of `path`: this Python and the content of the files."""
    content = hashlib.sha256(repr(sys.version_info[:3]).encode())
    for file in closure(path):
        content.update(file.read_bytes())
    return content.hexdigest()


def torch_index() -> str | None:
    """TORCH_INDEX if set, PyTorch's CPU index if it answers, or None: pip's default index."""
    if "TORCH_INDEX" in os.environ:
        return os.environ["TORCH_INDEX"] or None
    return CPU_INDEX if answers(f"{CPU_INDEX}/torch/") else None


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `url` answers with 200 in time, name resolution included (which takes no timeout itself)."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310  our own constant
                if response.status == 200:
                    answered.set()
        except (OSError, ValueError):
            return

    probe = threading.Thread(target=ask, daemon=True)
    probe.start()
    probe.join(seconds)
    return answered.is_set()


def install(path: Path) -> None:
    """Install what `path` asks for, unless the stamp says that this very content is installed."""
    stamp = stamp_of(path)
    if stamp.exists() and stamp.read_text() == digest(path):
        return
    wanted = torch_pins(path)
    index = torch_index() if wanted else None
    if index:
        say(f"{' '.join(wanted)} from {index}")
        # Their dependencies are everyone's: they come with the rest, from the default index.
        pip("install", "--no-deps", "--index-url", index, *wanted)
    elif wanted:
        say(f"{' '.join(wanted)} from pip's default index: {CPU_INDEX} is not used or does not answer")
    say(f"installing {path.name} (the first time takes minutes)")
    pip("install", "-r", str(path))
    for file in closure(path):
        if file.name.startswith("requirements"):  # whoever installed the whole has installed its parts
            stamp_of(file).write_text(digest(file))


def stamp_of(path: Path) -> Path:
    """Where this environment notes the digest of `path` as installed."""
    return Path(sys.prefix) / f".installed-{path.stem}"


def pip(*arguments: str) -> None:
    """Run this environment's pip; raises `RequirementsError` when it fails."""
    if importlib.util.find_spec("pip") is None:
        # An interrupted `python -m venv` leaves an environment without pip.
        run_module("ensurepip", "Install venv (on Debian and Ubuntu: apt install python3.11-venv).")
    advice = "Check the network and the free disk space (about 3 GB), then run the command again."
    run_module("pip", advice, "--disable-pip-version-check", "--quiet", "--no-input", *arguments)


def run_module(module: str, advice: str, *arguments: str) -> None:
    """`python -m module arguments`; raises `RequirementsError` with `advice` when it fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL)  # noqa: S603  a list, no shell
    if done.returncode:
        raise RequirementsError(
            f"{module} failed with exit status {done.returncode}; its message is above. {advice}"
        )


def say(sentence: str) -> None:
    """Progress, for the person who waits."""
    print(f"install: {sentence}", flush=True)


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise RequirementsError(f"{path}: no such file; run from a complete checkout")
    for line in path.read_text(encoding="utf-8").splitlines():
        stripped = line.partition("#")[0].strip()
        if stripped:
            yield stripped


def main(arguments: Sequence[str]) -> int:
    """Install each requirements file named on the command line."""
    if not arguments:
        print(__doc__)
        return 2
    if sys.prefix == sys.base_prefix:
        print("install: this Python is not a virtual environment's; run .venv/bin/python", file=sys.stderr)
        return 2
    # subprocess.run ends pip when an exception passes; SIGTERM alone would leave pip running behind us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        for name in arguments:
            install(Path(name))
    except RequirementsError as exc:
        print(f"install: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
