"""Compiles a checkpoint in its own process, so that the service keeps its memory and processor time.

It runs the operator's command, `python -m model.compile`, and can be ended at any time.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from model.checkpoint.file import CheckpointError
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
NICE = 10  # about a tenth of a core beside a busy service, and all idle time
TERMINATE_TIMEOUT_S = 3.0  # it removes unfinished files first
ERROR_PREFIX = "error: "
MAX_LOGGED_OUTPUT = 4000
log = structlog.get_logger()


async def compile_in_process(path: Path, settings: Settings, *, gently: bool) -> None:
    """Write a bundle beside the checkpoint at `path`; `gently` at low priority. Raises `CheckpointError`.

    Cancelling it ends the process.
    """
    log.info("compiling", checkpoint=path.name, precision=settings.precision)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *_command(path, settings),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        if gently:
            _lower_priority(child.pid)
        _, output = await child.communicate()
    finally:
        if child.returncode is None:
            await _end(child)
    if child.returncode:
        raise CheckpointError(_reason(path, child.returncode, output.decode(errors="replace")))


def _command(path: Path, settings: Settings) -> list[str]:
    # Not resolved: the bundle belongs beside this path, which is a symlink in the hub's cache.
    command = ["-m", "model.compile", str(path.absolute()), "--precision", settings.precision]
    return [*command, "--threads", str(settings.threads)] if settings.threads else command


def _lower_priority(pid: int) -> None:
    """Give it less processor time, and let the kernel kill it before the service if memory runs out."""
    os.setpriority(os.PRIO_PROCESS, pid, NICE)
    score = Path(f"/proc/{pid}/oom_score_adj")
    if score.exists():  # Linux
        score.write_text("1000", encoding="ascii")


async def _end(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    try:
        async with asyncio.timeout(TERMINATE_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _reason(path: Path, code: int, output: str) -> str:
    errors = [
        line.removeprefix(ERROR_PREFIX) for line in output.splitlines() if line.startswith(ERROR_PREFIX)
    ]
    if errors:
        return errors[-1]
    log.error("compile_failed", exit_code=code, output=output[-MAX_LOGGED_OUTPUT:])
    how = f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"
    return (
        f"{path}: compilation {how}; see the log. Compile it on a machine with more memory with "
        "`./miles compile`, and copy models/compiled here."
    )
