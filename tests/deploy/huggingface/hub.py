"""A server on loopback that answers the requests of the hub's API that publishing a Space makes.

It does not model the hub: it checks nothing, keeps what it was sent, and answers in the shapes that
huggingface_hub reads. It cannot tell what the hub itself would accept.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.web import Asked, Reply, web_host


@dataclass
class Hub:
    """What its one Space holds at first, and every request that it got."""

    space: str
    files: set[str] | None = None
    """None: the Space does not exist."""
    refusal: int | None = None
    """Answer everything with this status."""
    url: str = ""
    tokens: set[str | None] = field(default_factory=set)
    created: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, dict[str, str]] = field(default_factory=lambda: {"secrets": {}, "variables": {}})
    added: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    message: str = ""
    exchanged: list[dict[str, str]] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        ours = f"/api/spaces/{self.space}"
        if self.refusal:
            return self.refusal, {"error": "refused"}
        if path == "/github/statement":  # GitHub's part: a signed statement of what this run is
            return 200, {"value": "signed by GitHub"}
        if path == "/oauth/token":
            self.exchanged.append(json.loads(body))
            return 200, {"access_token": "hf_jwt_for_an_hour", "token_type": "bearer", "expires_in": 3600}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            self.files = set() if self.files is None else self.files
            return 200, {"url": f"{self.url}/spaces/{self.space}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if self.files is None or not path.startswith(ours):
            return 404, {"error": "Repository not found"}
        return 200, self._of_the_space(path.removeprefix(ours), body)

    def _of_the_space(self, path: str, body: bytes) -> Any:
        assert self.files is not None
        if path.startswith("/preupload/"):
            files = [file["path"] for file in json.loads(body)["files"]]
            return {
                "files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in files]
            }
        if path.startswith("/commit/"):
            return self._commit([json.loads(line) for line in body.splitlines()])
        if path in ("/secrets", "/variables"):
            given = json.loads(body)
            self.settings[path[1:]][given["key"]] = given["value"]
            return {key: {"value": value} for key, value in self.settings["variables"].items()}
        return {"id": self.space, "sha": "1" * 40, "siblings": [{"rfilename": name} for name in self.files]}

    def _commit(self, lines: list[dict[str, Any]]) -> Any:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.message = value["summary"]
            elif line["key"] == "file":
                self.added[value["path"]] = base64.b64decode(value["content"])
            else:
                self.deleted.add(value["path"])
        return {"commitUrl": f"{self.url}/spaces/{self.space}/commit/{'2' * 40}", "commitOid": "2" * 40}


@contextmanager
def running_hub(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port, its address in `hub.url`."""

    def answer(asked: Asked) -> Reply:
        hub.tokens.add(asked.headers.get("Authorization"))
        status, content = hub.answer(asked.path.partition("?")[0], asked.body)
        return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    with web_host(answer) as hub.url:
        yield hub
