"""Tries Miles with Ray the way the KubeRay operator runs deploy/ray/rayservice.yaml.

One container is the cluster's head and its worker at once: the head's command with the worker's cores, and
the worker's environment, writable folders and shared memory. The test then does what the operator does: it
probes, and hands the configuration to the dashboard. There is no operator and no Kubernetes here; any free
ports are used, and everything stays on the loopback interface.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.container.engine import ContainerError, Engine, Start
from tests.container.trial import READY_SECONDS, VIDEO, check_process, expect, in_words, inside, say
from tests.support.process import free_port

MANIFEST = Path(__file__).parents[2] / "deploy" / "ray" / "rayservice.yaml"
LOOPBACK = "127.0.0.1"
KILLED = 137
STAYS_ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # by Ray's name for it
READ_ONLY = ("/", "/app", "/app/models", "/var/tmp")  # noqa: S108  paths in the container
# In the container, because its ports are not this machine's.
ASK = """
import sys, urllib.error, urllib.request
method, url, body = sys.argv[1:]
headers = {"Content-Type": "application/json"}
asked = urllib.request.Request(url, body.encode() or None, headers, method=method)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    print(opener.open(asked, timeout=60).read().decode())
except urllib.error.HTTPError as exc:
    sys.exit(f"{method} {url}: {exc.code} {exc.read().decode(errors='replace')}")
except OSError as exc:
    sys.exit(f"{method} {url}: {exc}")
"""


def try_ray(engine: Engine) -> None:
    """Every check in turn; raises `ContainerError` at the first that does not hold."""
    service = manifest()["spec"]
    head = service["rayClusterConfig"]["headGroupSpec"]
    (worker,) = service["rayClusterConfig"]["workerGroupSpecs"]
    on_head, on_worker = (
        head["template"]["spec"]["containers"][0],
        worker["template"]["spec"]["containers"][0],
    )
    ports = {port["name"]: free_port() for port in on_head["ports"]}
    say("size", f"{engine.size() / 1e6:.0f} MB")
    started = time.monotonic()
    engine.start(as_the_operator_starts(head, worker, ports))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        until_answered(engine, on_head[probe], ports)
    say("Ray", f"answers its probes after {time.monotonic() - started:.1f} s")
    check_process(engine, READ_ONLY)
    # How the operator's worker pods wait for the head, in the login shell that operators before 1.4 use.
    inside(engine, ["/bin/bash", "-lc", f"ray health-check --address {LOOPBACK}:{ports['gcs']}"])
    inside(engine, ["python", "-c", "import deploy.score_dataset.run"])
    serve(engine, service["serveConfigV2"], ports)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        until_answered(engine, on_worker[probe], ports)
    say("ready", f"after {time.monotonic() - started:.1f} s")
    answer = ask(engine, "POST", ports["serve"], "/predict", json.dumps(VIDEO))
    say("prediction", in_words(json.loads(answer)))
    stop(engine, worker["template"]["spec"]["terminationGracePeriodSeconds"])


def stop(engine: Engine, seconds: float) -> None:
    """SIGTERM; raises `ContainerError` when the pod would have been killed before it had drained."""
    started = time.monotonic()
    status = engine.terminate(seconds)
    expect(status != KILLED, f"SIGTERM had not ended it after {seconds} s")
    say("SIGTERM", f"ended after {time.monotonic() - started:.1f} s")


def manifest() -> dict[str, Any]:
    """The RayService; raises `ContainerError` where there is no PyYAML to read it with."""
    try:
        import yaml
    except ImportError as exc:
        raise ContainerError(
            f"{MANIFEST.name} needs PyYAML, which is not installed: run `make setup`"
        ) from exc
    documents = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    service: dict[str, Any] = next(each for each in documents if each["kind"] == "RayService")
    return service


def as_the_operator_starts(
    head: Mapping[str, Any], worker: Mapping[str, Any], ports: Mapping[str, int]
) -> Start:
    """A container of both groups, by the operator's command line."""
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(head["rayStartParams"]) | {
        "num-cpus": container["resources"]["limits"]["cpu"],
        "node-ip-address": LOOPBACK,
        "port": ports["gcs"],
        "dashboard-host": LOOPBACK,
        "dashboard-port": ports["dashboard"],
        "dashboard-agent-listen-port": ports["agent"],
        "metrics-export-port": free_port(),
        "ray-client-server-port": free_port(),
    }
    words = " ".join(f"--{name}={value}" for name, value in options.items())
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    return Start(
        command=["/bin/bash", "-lc", "--", f"ulimit -n 65536; ray start --head --block {words}"],
        environment={each["name"]: each["value"] for each in container["env"]} | STAYS_ON_LOOPBACK,
        writable=[path for path in mounts.values() if path != "/dev/shm"],  # noqa: S108  Kubernetes mounts it
        shared_memory_mb=int(volumes["shm"]["sizeLimit"].removesuffix("Mi")),
    )


def serve(engine: Engine, configuration: str, ports: Mapping[str, int]) -> None:
    """Hand the configuration to the dashboard, and wait until its application runs."""
    import yaml

    wanted = yaml.safe_load(configuration)
    wanted["http_options"] |= {"host": LOOPBACK, "port": ports["serve"]}
    ask(engine, "PUT", ports["dashboard"], "/api/serve/applications/", json.dumps(wanted))

    def runs() -> bool:
        told = json.loads(ask(engine, "GET", ports["dashboard"], "/api/serve/applications/"))["applications"]
        states = {name: application["status"] for name, application in told.items()}
        broken = {name: told[name]["message"] for name, state in states.items() if "FAILED" in state}
        expect(not broken, f"Ray Serve cannot run it: {broken}")
        return bool(states) and set(states.values()) == {"RUNNING"}

    until(engine, runs, "Ray Serve does not run it")


def until_answered(engine: Engine, probe: Mapping[str, Any], ports: Mapping[str, int]) -> None:
    """Ask as the kubelet would, until the answer is good."""
    path, port = probe["httpGet"]["path"], ports[probe["httpGet"]["port"]]
    url = f"http://{LOOPBACK}:{port}{path}"
    until(
        engine,
        lambda: engine.inside(["python", "-c", ASK, "GET", url, ""]).returncode == 0,
        f"no answer at {path}",
    )


def until(engine: Engine, holds: Callable[[], bool], otherwise: str) -> None:
    """Wait for it; raises `ContainerError` when the container ends or it takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while not holds():
        expect(engine.alive(), f"{otherwise}, and the container has ended")
        expect(time.monotonic() < deadline, f"{otherwise} after {READY_SECONDS} s")
        time.sleep(1)


def ask(engine: Engine, method: str, port: int, path: str, body: str = "") -> str:
    """The answer's body; raises `ContainerError` when there is none or it is an error."""
    return inside(engine, ["python", "-c", ASK, method, f"http://{LOOPBACK}:{port}{path}", body])
