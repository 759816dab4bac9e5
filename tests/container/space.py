"""Starts the files of a Gradio Space as the hub does: a new environment, uid 1000, nothing else.

    python -m tests.container.space [--bundle DIR]

The files are exactly those that `./miles upload-space --sdk gradio` uploads from the last commit. The
environment gets requirements.txt and no more; Gradio, which the hub adds, is not used by the service.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.huggingface.contents import SpaceError, compiled_bundle, files_of_the_space
from tests.container.engine import ContainerError, run
from tests.container.trial import READY_SECONDS, expect, predict, request, say
from tests.support.process import free_port
from tests.support.service import ROOT

USER = 1000
STOP_SECONDS = 30
INSTALL_SECONDS = 900
UNUSED = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")


def try_space(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files, install, start, predict, stop; raises `ContainerError` at the first failure."""
    home = folder / "app"
    for name, content in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    say("files", f"{len(files)}, {sum(map(len, files.values())) / 1e6:.0f} MB")
    started = time.monotonic()
    python = folder / "venv" / "bin" / "python"
    base = interpreter(folder)
    run([str(base), "-m", "venv", str(folder / "venv")])
    run([str(python), "-m", "pip", "install", "-q", "-r", str(home / "requirements.txt")], INSTALL_SECONDS)
    run(["chown", "-R", f"{USER}:{USER}", str(folder)])
    say("requirements", f"installed after {time.monotonic() - started:.1f} s")
    port = free_port()
    service = subprocess.Popen(
        [str(python), "start.py"],
        cwd=home,
        env={
            **{name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))},
            "PATH": os.defpath,
            "LD_LIBRARY_PATH": str(base.parents[1] / "lib"),  # a copied Python's own libpython
            "HOME": str(folder),
            "MILES_PORT": str(port),
            "MILES_LOG_LEVEL": "warning",
        },
        user=USER,
        group=USER,
        extra_groups=[],
    )
    try:
        started = time.monotonic()
        while not _is_ready(port):
            expect(service.poll() is None, f"the service ended with exit status {service.returncode}")
            expect(time.monotonic() - started < READY_SECONDS + INSTALL_SECONDS, "not ready in time")
            time.sleep(0.2)
        say("ready", f"after {time.monotonic() - started:.1f} s, as uid {USER}")
        say("prediction", predict(port))
        service.send_signal(signal.SIGTERM)
        status = service.wait(STOP_SECONDS)
        expect(status == 0, f"SIGTERM ended the service with exit status {status}, not 0")
        say("SIGTERM", "exit status 0")
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()


def interpreter(folder: Path) -> Path:
    """A Python that other users can start: this one, or a copy in `folder` if it is in a private home."""
    prefix = Path(sys.base_prefix)
    if not all(parent.stat().st_mode & 0o001 for parent in prefix.parents):
        prefix = Path(shutil.copytree(prefix, folder / "python", symlinks=True, ignore=UNUSED))
    return prefix / "bin" / "python3.11"


def _is_ready(port: int) -> bool:
    try:
        request(port, "/health/ready")
    except OSError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Try it in a temporary folder; 1 after a failure, which is printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.container.space", description=__doc__)
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the newest in models/compiled")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="space-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        try_space(folder, files_of_the_space(ROOT, "gradio", options.bundle or compiled_bundle(ROOT)))
    except (ContainerError, SpaceError, subprocess.TimeoutExpired) as exc:
        print(f"space: {exc}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
