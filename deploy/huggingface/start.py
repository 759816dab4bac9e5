"""Starts Miles in a Space with the Gradio SDK: installs the locked packages, then becomes the service.

The hub installs Gradio beside requirements.txt, and Gradio's limits (Pillow below 13) exclude our pinned
packages, so they get an environment of their own. uv takes seconds where pip takes a minute, and checks every
file's hash.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
UV = [sys.executable, "-m", "uv"]


def main() -> None:
    """Install, and replace this process with the service; a failed installation ends with uv's error."""
    python = Path(tempfile.mkdtemp(prefix="miles-")) / "venv" / "bin" / "python"
    lock = HERE / "requirements" / "serve.lock"
    for step in (
        [*UV, "venv", "--quiet", "--python", sys.executable, str(python.parent.parent)],
        [
            *UV,
            "pip",
            "sync",
            "--python",
            str(python),
            "--require-hashes",
            "--only-binary",
            ":all:",
            str(lock),
        ],
    ):
        code = subprocess.run(step, check=False).returncode  # noqa: S603
        if code:
            sys.exit(code)
    os.environ.setdefault("MILES_CHECKPOINT", str(HERE / "models" / "bundle"))
    os.chdir(HERE)
    os.execv(python, [str(python), "app.py"])  # noqa: S606  signals reach the service


if __name__ == "__main__":
    main()
