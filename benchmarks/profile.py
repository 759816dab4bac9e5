"""Shows where the CPU time of a new video goes: by process and thread, and on the event loop by activity.

    python -m benchmarks.profile [--clients 32] [--seconds 10]

CPU time per thread comes from /proc. py-spy, a sampling profiler that reads a process from outside, adds the
threads' names and the stacks of the event loop. It samples without stopping the process, so as not to slow
down what is measured; a few samples are inconsistent and left out. Needs wrk and py-spy, which `make bench`
installs. The last line of output is JSON.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.harness.contestants import ROOT, compiled, contestants, running, thumbnails
from benchmarks.harness.processes import ProcessTree

CHECKPOINT = ROOT / "models" / "model_full.pt"
PY_SPY = ROOT / "build" / "bench-venv" / "bin" / "py-spy"
RATE = 250
VIDEOS_PER_S = 200
# Checked for each function of a sample, the innermost first; the first match names the activity.
ACTIVITIES = (
    ("download", r"httpcore2|(preprocessing|serving/scoring)/thumbnails"),
    ("hand pictures to decoders", r"preprocessing/decoding"),
    ("logs and metrics", r"structlog|logging/|prometheus_client|serving/observability"),
    ("tokenise", r"preprocessing/text"),
    ("features", r"features/|serving/scoring/warnings"),
    (
        "queues and caches",
        r"serving/(scoring/(batching|cache|towers|pipeline)|lifecycle/predictor)|concurrent/futures",
    ),
    ("HTTP", r"uvicorn|starlette|fastapi|pydantic|h11|httptools|serving/|app\.py"),
)
LOOP = "event loop, sockets"


def activity_of(stack: Sequence[str]) -> str:
    """The event loop's activity in a sample, whose functions come outermost first."""
    below_the_server = [
        frame for frame in stack if not re.search(r"<module>|server\.py|_compat|runners", frame)
    ]
    for frame in reversed(below_the_server):
        for activity, pattern in ACTIVITIES:
            if re.search(pattern, frame):
                return activity
    return LOOP


def event_loop_shares(samples: str) -> dict[str, float]:
    """Share of the event loop's samples by activity, from py-spy's raw format."""
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if "MainThread" in frames[0] and len(frames) > 1:
            counts[activity_of(frames[1:])] += int(count)
    total = counts.total()
    return {activity: count / total for activity, count in counts.most_common()}


def thread_seconds(pid: int) -> dict[int, float]:
    return {each.id: each.user_time + each.system_time for each in psutil.Process(pid).threads()}


def thread_names(pid: int) -> dict[int, str]:
    """Names of the Python threads; the others belong to the engine."""
    dump = subprocess.run(  # noqa: S603  a list, no shell
        [PY_SPY, "dump", "--pid", str(pid)], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return {int(thread): name for thread, name in re.findall(r'Thread (\d+) .*?"(.*?)"', dump)}


def measure(clients: int, seconds: int) -> dict[str, object]:
    """Load Miles with new videos and account for its CPU time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="miles-profile-")))
        _, workload = stack.enter_context(thumbnails(folder))
        miles = contestants(CHECKPOINT, compiled(CHECKPOINT))[0]
        server = stack.enter_context(running(miles, folder, workload.new_videos(1)[0]))
        for video in workload.new_videos(4 * clients):
            server.predict(video)
        pid = server.tree.members()[0].pid
        before, everything = thread_seconds(pid), server.tree.cpu_seconds()
        output = folder / "samples"
        recorder = _record(pid, seconds - 1, output)
        load = server.load(workload.new_videos(VIDEOS_PER_S * seconds), clients, seconds)
        threads = _milliseconds(pid, before, load.requests)
        threads["decoding processes"] = _decoders(server.tree, pid, before, everything, load.requests)
        recorder.wait(timeout=60)
        shares = event_loop_shares(output.read_text())
    loop_ms = threads.get("MainThread", 0.0)
    return {
        "clients": clients,
        "videos": load.requests,
        "cpu_ms": {name: round(value, 3) for name, value in threads.items()},
        "event_loop_ms": {name: round(share * loop_ms, 3) for name, share in shares.items()},
    }


def _record(pid: int, seconds: int, output: Path) -> subprocess.Popen[bytes]:
    command = [str(PY_SPY), "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE)]
    command += ["--nonblocking", "--threads", "--format", "raw", "--output", str(output)]
    return subprocess.Popen(  # noqa: S603  a list, no shell
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _milliseconds(pid: int, before: dict[int, float], videos: int) -> dict[str, float]:
    """CPU milliseconds a video by thread; threads without a name are the engine's own."""
    names, used = thread_names(pid), defaultdict[str, float](float)
    for thread, now in thread_seconds(pid).items():
        used[names.get(thread, "engine's own threads")] += 1000 * (now - before.get(thread, 0.0)) / videos
    return {name: value for name, value in sorted(used.items(), key=lambda pair: -pair[1]) if value >= 0.005}


def _decoders(tree: ProcessTree, pid: int, before: dict[int, float], everything: float, videos: int) -> float:
    """CPU milliseconds a video of all processes except the first."""
    of_the_first = sum(thread_seconds(pid).values()) - sum(before.values())
    return 1000 * (tree.cpu_seconds() - everything - of_the_first) / videos


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args(arguments)
    if not PY_SPY.exists():
        print(f"profile: {PY_SPY} does not exist; `make bench` installs it", file=sys.stderr)
        return 1
    found = measure(options.clients, options.seconds)
    for title, key in (
        ("CPU ms a video", "cpu_ms"),
        ("event loop (MainThread), CPU ms a video", "event_loop_ms"),
    ):
        rows = found[key]
        assert isinstance(rows, dict), "measure() returns tables"
        print(f"\n{title}")
        for name, value in rows.items():
            print(f"  {name:28} {value:7.2f}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
