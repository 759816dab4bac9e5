"""Ray Serve on this machine, put to several tests after one start; prints observations as JSON.

    python -m tests.scale.one_machine BUNDLE DAMAGED QUESTIONS.json     in a process of its own

Four applications: one whose replica lets two requests in, one whose replica takes one from Ray while Ray
keeps another waiting, one whose model hangs on cue, and one whose checkpoint is damaged.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

os.environ.pop("RAY_AUTH_MODE", None)  # on one machine Ray asks for its token by default

import grpc
import httpx
import psutil
from ray import serve

from deploy import ray_serve
from model.compiled.engine import OpenVinoEngine
from tests.scale.figures import scored
from tests.scale.local_ray import local_ray, until
from tests.support.faulty_service import HANG, cue, encode_text
from tests.support.service import free_port

NAMES = ("default", "bounded", "hanging", "broken")
LET_IN = 2  # of the first application's MILES_MAX_QUEUE_SIZE
CROWD = 5
LIMIT_S = 120
PATIENCE_S = 60.0
PLAIN = {"title": "How do planes stay up?", "view_count": 1000}
SILENCE = "no answer"


@contextmanager
def held(url: str, count: int) -> Iterator[list[int]]:
    """Hold `count` requests in a replica, without their thumbnails until the block ends; their statuses."""
    statuses: list[int] = []
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pictures = f"http://127.0.0.1:{listening.getsockname()[1]}"
        waiting = [
            threading.Thread(
                target=lambda number=number: statuses.append(
                    ask(url, PLAIN | {"thumbnail_url": f"{pictures}/{number}.jpg"}).status_code
                )
            )
            for number in range(count)
        ]
        for each in waiting:
            each.start()
            stack.callback(each.join)
        listening.settimeout(LIMIT_S)
        for _ in waiting:
            stack.enter_context(listening.accept()[0])
        stack.callback(listening.close)
        yield statuses


def ask(url: str, question: dict[str, Any]) -> httpx.Response:
    """One video, or several."""
    route = "predict/batch" if "videos" in question else "predict"
    return httpx.post(f"{url}/{route}", json=question, timeout=PATIENCE_S)


def refusal(answer: httpx.Response) -> dict[str, Any]:
    """A refusal's status, Retry-After and kind, and which part sent it."""
    return {
        "status": answer.status_code,
        "retry_after": answer.headers.get("Retry-After"),
        "ours": answer.headers["Content-Type"] == "application/problem+json",
    }


def full_replica(url: str) -> dict[str, Any]:
    """A request beyond those that the replica lets in."""
    with held(url, LET_IN) as statuses:
        seen = refusal(ask(url, PLAIN))
    return seen | {"held": statuses}


def full_proxy(url: str) -> dict[str, Any]:
    """Many requests while the replica is full: one of them may wait."""
    answers: list[httpx.Response] = []
    crowd = [threading.Thread(target=lambda: answers.append(ask(url, PLAIN))) for _ in range(CROWD)]
    with held(url, 1) as statuses:
        for each in crowd:
            each.start()
        until(lambda: len(answers) >= CROWD - 1)
        refused = [refusal(answer) for answer in answers]
    for each in crowd:
        each.join()
    return {
        "refused": refused,
        "answered": sum(answer.status_code == 200 for answer in answers),
        "held": statuses,
    }


def status_of(name: str) -> str:
    known = serve.status().applications.get(name)
    return known.status.value if known else "UNKNOWN"


def knock(url: str) -> str:
    """Whether a replica whose checkpoint is damaged answers a client."""
    try:
        answer = httpx.post(f"{url}/predict", json=PLAIN, timeout=1)
    except httpx.TimeoutException:
        return SILENCE
    return "a replica" if answer.headers["Content-Type"] == "application/problem+json" else SILENCE


def listeners() -> dict[str, list[int]]:
    """Ports on which Ray's processes listen beyond the loopback interface, by process."""
    names = {process.pid: process.info["name"] for process in psutil.process_iter(["name"])}
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    found: dict[str, list[int]] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid in ours:
            address, port = connection.laddr
            if not is_loopback(address):
                found.setdefault(names[connection.pid], []).append(port)
    return found


def is_loopback(address: str) -> bool:
    """Whether nothing outside this machine reaches it."""
    return address.removeprefix("::ffff:").startswith("127.") or address == "::1"


def without_token(port: int) -> str:
    """A gRPC server's answer to a call without a token."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        try:
            call(b"", timeout=PATIENCE_S)
        except grpc.RpcError as exc:
            return str(exc.code().name)
    return "OK"


def hangs_on_cue() -> Any:
    """The app of a replica, on tests/support/faulty_service.py's engine."""
    OpenVinoEngine.encode_text = encode_text  # type: ignore[method-assign]
    return ray_serve._replica()


def targets(model: str, damaged: str) -> list[serve.RunTarget]:
    """The applications; a replica has a core as Ray counts them."""

    def with_settings(**variables: str) -> dict[str, Any]:
        return {"num_cpus": 1, "runtime_env": {"env_vars": variables}}

    deployment = ray_serve.app._bound_deployment.options(autoscaling_config=None, num_replicas=1)
    let_in = deployment.options(
        ray_actor_options=with_settings(MILES_CHECKPOINT=model, MILES_MAX_QUEUE_SIZE=str(LET_IN))
    )
    bounded = deployment.options(
        ray_actor_options=with_settings(MILES_CHECKPOINT=model), max_ongoing_requests=1, max_queued_requests=1
    )
    broken = deployment.options(
        ray_actor_options=with_settings(MILES_CHECKPOINT=damaged), max_constructor_retry_count=1
    )
    hanging = deployment.options(
        func_or_class=serve.ingress(hangs_on_cue)(ray_serve.Miles),
        ray_actor_options=with_settings(MILES_CHECKPOINT=model, MILES_FORWARD_TIMEOUT_S="1"),
    )
    return [
        serve.RunTarget(hanging.bind(), name="hanging", route_prefix="/hanging"),
        serve.RunTarget(let_in.bind(), name="default", route_prefix="/"),
        serve.RunTarget(bounded.bind(), name="bounded", route_prefix="/bounded"),
        serve.RunTarget(broken.bind(), name="broken", route_prefix="/broken"),
    ]


def seen(url: str, questions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    knocks = set()
    while "DEPLOYING" in (states := {status_of(name) for name in NAMES}):
        knocks.add(knock(f"{url}/broken"))
    assert "UNKNOWN" not in states, serve.status()
    knocks.add(knock(f"{url}/broken"))
    (broken,) = serve.status().applications["broken"].deployments.values()
    open_ports = {name: ports for name, ports in listeners().items() if ":broken:" not in name}  # it leaves
    hung = [ask(f"{url}/hanging", each).status_code for each in (PLAIN, {"title": cue(HANG)}, PLAIN)]
    facts = {
        "broken": {"status": status_of("broken"), "message": broken.message, "answered": sorted(knocks)},
        "answers": [scored(ask(url, question)) for question in questions],
        "ready": httpx.get(f"{url}/health/ready", timeout=PATIENCE_S).status_code,
        "full_replica": full_replica(url),
        "full_proxy": full_proxy(f"{url}/bounded"),
        "open_ports": open_ports,
        "without_token": [without_token(port) for ports in open_ports.values() for port in ports],
    }
    until(lambda: ask(f"{url}/hanging", PLAIN).status_code == 200)
    return facts | {"hung": hung}


def main(model: str, damaged: str, questions: str) -> dict[str, Any]:
    os.environ |= {
        "MILES_LOG_LEVEL": "error",
        "MILES_MAX_BATCH_SIZE": "1",
        "MILES_REQUEST_TIMEOUT_S": str(LIMIT_S),
        "MILES_THUMBNAIL_TIMEOUT_S": "30",
        "MILES_THUMBNAIL_TRUSTED_NETWORKS": "127.0.0.0/8",
    }
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    with local_ray(len(NAMES)):
        try:
            port = free_port()
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run_many(targets(model, damaged), wait_for_applications_running=False)
            return seen(f"http://127.0.0.1:{port}", asked)
        finally:
            serve.shutdown()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
