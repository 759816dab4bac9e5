"""Tries plain Miles in a running container, and checks what applies to every image."""

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from tests.container.engine import HOME, ContainerError, Engine, Start

READY_SECONDS = 180
STOP_SECONDS = 30
VIDEO = {"title": "I built a tiny house in 24 hours", "view_count": 120000, "like_count": 9000}
# Read by uid 1000 inside. The file system itself has to refuse a write to each folder (EROFS).
FOLDERS = ("/", "/app", "/app/models", "/tmp", "/var/tmp", HOME)  # noqa: S108  paths in the container
TRY_TO_WRITE = """
import errno, os, sys
for folder in sys.argv[1:]:
    try:
        open(f"{folder}/probe", "w").close()
    except OSError as exc:
        if exc.errno == errno.EROFS or (exc.errno == errno.ENOENT and not os.path.exists(folder)):
            continue
        sys.exit(f"{folder}: refused, but not because it is read-only ({exc})")
    sys.exit(f"{folder} can be written")
"""


def try_image(engine: Engine) -> None:
    """Every check in turn; raises `ContainerError` at the first that does not hold."""
    say("size", f"{engine.size() / 1e6:.0f} MB")
    started = time.monotonic()
    port = engine.start(Start())
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
        except OSError:  # refused, or a 503 while it loads
            time.sleep(0.2)
        else:
            return
    raise ContainerError(f"not ready after {READY_SECONDS} s")


def check_process(engine: Engine, folders: Sequence[str] = FOLDERS) -> None:
    """The service runs unprivileged, and none of `folders` is writable."""
    status = dict(line.split(":", 1) for line in inside(engine, ["cat", "/proc/1/status"]).splitlines())
    users, capabilities = set(status["Uid"].split()), int(status["CapEff"], 16)
    expect(users == {"1000"}, f"the service runs as uid {users}, not 1000")
    expect(capabilities == 0, f"the service holds capabilities {capabilities:#x}")
    expect(status["NoNewPrivs"].strip() == "1", "the service may gain privileges")
    say("user", "uid 1000, no capabilities, no new privileges")
    inside(engine, ["python", "-c", TRY_TO_WRITE, *folders])
    say("read-only", f"writing to {', '.join(folders)} is refused")


def predict(port: int) -> str:
    """Request one prediction and describe it; raises `ContainerError` when it is invalid."""
    return in_words(json.loads(request(port, "/predict", json.dumps(VIDEO).encode())))


def in_words(answer: dict[str, Any]) -> str:
    """The prediction as text; raises `ContainerError` when it is invalid."""
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
    output = (done.stdout + done.stderr).strip()
    expect(done.returncode == 0, f"{command[0]} in the container: exit status {done.returncode}: {output}")
    return output


def expect(holds: bool, otherwise: str) -> None:
    """Raises `ContainerError` with the sentence unless the fact holds."""
    if not holds:
        raise ContainerError(otherwise)


def say(what: str, finding: str) -> None:
    """One line of the report."""
    print(f"  {what:12} {finding}", flush=True)
