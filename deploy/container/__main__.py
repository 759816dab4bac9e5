"""Builds the image and tries it: read-only root, uid 1000, no capabilities, an unwritable HOME.

    python -m deploy.container                      with docker, podman or buildah, the first that works here
    python -m deploy.container --engine podman
    python -m deploy.container --no-build --image miles
    BUILD_FLAGS="--pull" python -m deploy.container   more flags for the build, separated by spaces

It waits until the service is ready, runs the image's own HEALTHCHECK, asks for a prediction, looks at who
runs and what can be written, sends SIGTERM and wants exit status 0. No container is left; the image stays.
`deploy/container/buildah.py` says what a trial with buildah does not enforce.
"""

import argparse
import json
import os
import shlex
import signal
import sys
import time
import urllib.request
from collections.abc import Sequence
from urllib.error import HTTPError

from deploy.container.buildah import Buildah
from deploy.container.commands import ContainerError, attempt
from deploy.container.docker import Docker
from deploy.container.engine import HOME, Engine

READY_SECONDS = 180
STOP_SECONDS = 30
VIDEO = {"title": "I built a tiny house in 24 hours", "view_count": 120000, "like_count": 9000}
# Read by uid 1000 inside. Every folder has to be refused by the file system itself (EROFS).
TRY_TO_WRITE = """
import errno, os, sys
for folder in ("/", "/app", "/app/models", "/tmp", "/var/tmp", os.environ["HOME"]):
    try:
        open(f"{folder}/probe", "w").close()
    except OSError as exc:
        if exc.errno == errno.EROFS or (exc.errno == errno.ENOENT and not os.path.exists(folder)):
            continue
        sys.exit(f"{folder}: refused, but not because it is read-only ({exc})")
    sys.exit(f"{folder} can be written")
"""


def choose(name: str | None, image: str) -> Engine:
    """The engine called `name`, or the first that works here; raises `ContainerError`."""
    every: list[Engine] = [Docker("docker", image), Docker("podman", image), Buildah(image)]
    candidates = [engine for engine in every if name in (None, engine.name)]
    for engine in candidates:
        if engine.works():
            return engine
    tried = ", ".join(engine.name for engine in candidates)
    raise ContainerError(f"{tried}: not installed, or does not answer (buildah has to be run by root)")


def revision() -> str:
    """The commit that the image is built from, for its label."""
    return attempt(["git", "rev-parse", "HEAD"]).stdout.strip() or "unknown"


def try_image(engine: Engine) -> None:
    """Every check in turn; raises `ContainerError` at the first that does not hold."""
    say("size", f"{engine.size() / 1e6:.0f} MB")
    started = time.monotonic()
    port = engine.start()
    wait_until_ready(engine, port)
    say("ready", f"after {time.monotonic() - started:.1f} s, root read-only, HOME={HOME}")
    check_process(engine)
    say("healthcheck", inside(engine, engine.healthcheck()) or "exit status 0")
    say("prediction", predict(port))
    started = time.monotonic()
    status = engine.terminate(STOP_SECONDS)
    say("SIGTERM", f"exit status {status} after {time.monotonic() - started:.1f} s")
    expect(status == 0, f"SIGTERM ended the service with exit status {status}, not 0")


def wait_until_ready(engine: Engine, port: int) -> None:
    """Poll /health/ready; raises `ContainerError` when the service ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        expect(engine.alive(), "the service ended before it was ready")
        try:
            request(port, "/health/ready")
        except OSError:  # refused, or a 503 that says not yet
            time.sleep(0.2)
        else:
            return
    raise ContainerError(f"not ready after {READY_SECONDS} s")


def check_process(engine: Engine) -> None:
    """Who the service is and what it may do."""
    status = dict(line.split(":", 1) for line in inside(engine, ["cat", "/proc/1/status"]).splitlines())
    users, capabilities = set(status["Uid"].split()), int(status["CapEff"], 16)
    expect(users == {"1000"}, f"the service runs as uid {users}, not 1000")
    expect(capabilities == 0, f"the service holds capabilities {capabilities:#x}")
    expect(status["NoNewPrivs"].strip() == "1", "the service may gain privileges")
    say("user", "uid 1000, no capabilities, no new privileges")
    inside(engine, ["python", "-c", TRY_TO_WRITE])
    say("read-only", "writing to /, /app, /tmp, /var/tmp and HOME is refused")


def predict(port: int) -> str:
    """One prediction, in words; raises `ContainerError` when it is none."""
    answer = json.loads(request(port, "/predict", json.dumps(VIDEO).encode()))
    expect(0 <= answer["viral_score"] <= 1 and answer["predicted_velocity"] >= 0, f"no prediction: {answer}")
    return f"viral_score {answer['viral_score']}, {answer['model_version']}"


def request(port: int, path: str, body: bytes | None = None) -> bytes:
    """The answer's body; raises `OSError` when there is none or it is an error."""
    address = f"http://127.0.0.1:{port}{path}"
    asked = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=30) as response:
        content: bytes = response.read()
        return content


def inside(engine: Engine, command: Sequence[str]) -> str:
    """What `command` prints inside the container; raises `ContainerError` when it fails there."""
    done = engine.inside(command)
    said = (done.stdout + done.stderr).strip()
    expect(done.returncode == 0, f"{command[0]} in the container: exit status {done.returncode}: {said}")
    return said


def expect(holds: bool, otherwise: str) -> None:
    """Raises `ContainerError` with the sentence unless the fact holds."""
    if not holds:
        raise ContainerError(otherwise)


def say(what: str, finding: str) -> None:
    """One line of the report."""
    print(f"  {what:12} {finding}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Build, try, clean up."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.container",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", choices=["docker", "podman", "buildah"], default=os.environ.get("ENGINE"))
    parser.add_argument("--image", default="miles")
    parser.add_argument("--no-build", action="store_true", help="try the image as it is")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that we clean up
    try:
        engine = choose(options.engine, options.image)
    except ContainerError as exc:
        print(f"container: {exc}", file=sys.stderr)
        return 1
    try:
        if not options.no_build:
            flags = ["--build-arg", f"REVISION={revision()}"]
            engine.build([*flags, *shlex.split(os.environ.get("BUILD_FLAGS", ""))])
        print(f"{options.image} with {engine.name}:")
        try_image(engine)
    except (ContainerError, HTTPError, KeyError) as exc:
        log = engine.log()[-4000:]
        print(f"container: {exc}\n--- the service's log, its end:\n{log}", file=sys.stderr)
        return 1
    finally:
        engine.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
