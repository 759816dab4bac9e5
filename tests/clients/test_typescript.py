"""The TypeScript client: its types are the app's, its source is strict, and it works with real services."""

import secrets
from pathlib import Path

import pytest

from tests.support.house import ROOT
from tests.support.node import install, node, npm
from tests.support.service import Service, ready_service, started_service

FOLDER = ROOT / "clients" / "typescript"


@pytest.fixture(scope="module")
def folder() -> Path:
    install(FOLDER)
    return FOLDER


def test_the_types_are_what_the_generator_gives(folder: Path) -> None:
    """src/schema.ts is generated from clients/openapi.json; `make openapi` writes it."""
    ran = npm(folder, "run", "generate", "--", "--check")
    assert ran.returncode == 0, ran.stdout


def test_the_source_is_strict(folder: Path) -> None:
    """tsc with every strict option and typescript-eslint's strictest rules report nothing."""
    ran = npm(folder, "run", "check")
    assert ran.returncode == 0, ran.stdout


def test_the_client_scores_and_waits(folder: Path, service: Service) -> None:
    """The client's own tests pass against a real service, and a host that answers in its place."""
    _pass(folder, "scores", "patience", "lines", MILES_URL=service.url)


def test_the_client_handles_keys_and_limits(folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """A service with keys and a limit refuses the client with typed errors, and answers it with the key."""
    key = secrets.token_urlsafe(24)
    with ready_service(tmp_path / "log", checkpoint=tiny_bundle, api_keys=key, rate_limit=2) as running:
        _pass(folder, "doors", MILES_GUARDED_URL=running.url, MILES_GUARDED_KEY=key)


def test_the_client_waits_for_a_service_that_starts(folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with started_service(tmp_path / "log", checkpoint=tiny_bundle) as starting:
        _pass(folder, "waking", MILES_STARTING_URL=starting.url)


def test_the_package_has_no_dependencies(folder: Path) -> None:
    ran = npm(folder, "ls", "--omit=dev", "--parseable")
    assert [line for line in ran.stdout.splitlines() if "node_modules" in line] == []


def _pass(folder: Path, *names: str, **variables: str) -> None:
    ran = node(
        folder,
        "--test",
        "--test-timeout=60000",
        "--test-force-exit",
        *[f"test/{name}.test.ts" for name in names],
        **variables,
    )
    assert ran.returncode == 0, ran.stdout
