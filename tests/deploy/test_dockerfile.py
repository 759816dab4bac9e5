"""What the image contains and how it runs, according to the files; `make container-test` runs it."""

import re
from fnmatch import fnmatch

from tests.support.house import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
WITH_RAY = (ROOT / "deploy" / "ray" / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_the_service_does_not_run_as_root() -> None:
    """The last USER line is uid 1000, which is also a Space's."""
    users = [
        re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE)[-1] for dockerfile in (DOCKERFILE, WITH_RAY)
    ]
    assert users == ["1000:1000"] * 2


def test_signals_reach_the_service() -> None:
    """CMD and HEALTHCHECK are in exec form, without a shell."""
    assert re.search(r'^CMD \["python", "app\.py"\]$', DOCKERFILE, re.MULTILINE)
    assert re.search(r'^HEALTHCHECK .* CMD \["python", "deploy/healthcheck\.py"\]$', DOCKERFILE, re.MULTILINE)


def test_dockerignore_allows_exactly_what_is_copied() -> None:
    """Its exceptions are the paths that COPY names in either file, and no others."""
    context = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE + WITH_RAY, re.MULTILINE)
    copied = {name.strip("/") for line in context for name in line.split()}
    let_through = {line[1:].strip("/") for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    outside = {"clients", "docs", "tests", "benchmarks", "node_modules", "."}
    assert {name.partition("/")[0] for name in copied} & outside == set()
    assert [name for name in copied if not any(fnmatch(name, pattern) for pattern in let_through)] == []
    assert [pattern for pattern in let_through if not any(fnmatch(name, pattern) for name in copied)] == []


def test_a_token_is_in_no_layer() -> None:
    """A private repository's token is mounted for the one step that needs it; ARG and ENV would keep it."""
    assert "RUN --mount=type=secret,id=HF_TOKEN,required=false" in DOCKERFILE
    assert re.findall(r"^(?:ARG|ENV) .*TOKEN", DOCKERFILE, re.MULTILINE) == []
