"""Compiles a checkpoint in a process of its own, so that what serves meanwhile keeps its memory and its turn.

The same command that an operator would run, `python -m model.compile`. It can be ended at any time, takes
torch's memory with it, and holds no lock that a request waits for.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from model.checkpoint.file import CheckpointError
from serving.settings import Settings

ROOT = Path(__file__).parents[2]
NICE = 10  # beside a busy service it gets about a tenth of a core, and all that is idle
PATIENCE_S = 3.0  # what is told to end removes its unfinished files first
TOLD = "error: "  # how the command begins the line for a person
LONGEST_OUTPUT = 4000
log = structlog.get_logger()


async def compile_in_process(path: Path, settings: Settings, *, gently: bool) -> None:
    """Leave a bundle beside the checkpoint at `path`; `gently` where others wait for the processor.

    A compile that is cancelled is ended. Raises `CheckpointError`.
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
            _give_way(child.pid)
        _, output = await child.communicate()
    finally:
        if child.returncode is None:
            await _end(child)
    if child.returncode:
        raise CheckpointError(_reason(path, child.returncode, output.decode(errors="replace")))


def _command(path: Path, settings: Settings) -> list[str]:
    # Not resolved: the bundle belongs beside the name, and in the hub's cache that is a link.
    command = ["-m", "model.compile", str(path.absolute()), "--precision", settings.precision]
    if settings.threads:
        command += ["--threads", str(settings.threads)]
    return command


def _give_way(pid: int) -> None:
    """Let others go first, and where memory runs out, end before them."""
    os.setpriority(os.PRIO_PROCESS, pid, NICE)
    score = Path(f"/proc/{pid}/oom_score_adj")
    if score.exists():  # Linux
        score.write_text("1000", encoding="ascii")


async def _end(child: asyncio.subprocess.Process) -> None:
    child.terminate()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _reason(path: Path, code: int, output: str) -> str:
    told = [line.removeprefix(TOLD) for line in output.splitlines() if line.startswith(TOLD)]
    if told:
        return told[-1]
    log.error("compile_failed", exit_code=code, output=output[-LONGEST_OUTPUT:])
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return (
        f"{path}: its compilation {how}; the log says more. Compile it where there is more memory, with "
        "`python -m model.compile`, and bring models/compiled along."
    )
