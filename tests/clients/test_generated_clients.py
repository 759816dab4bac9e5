"""Clients that generators write from clients/openapi.json call a real service with an API key."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import ROOT
from tests.support.node import install, node
from tests.support.process import completed
from tests.support.service import Service, ready_service

DOCUMENT = ROOT / "clients" / "openapi.json"
FOLDER = ROOT / "clients" / "typescript"
KEY = secrets.token_urlsafe(24)
PYTHON = """
import sys
from datetime import UTC, datetime
from generated import AuthenticatedClient, Client
from generated.api.health import live, metrics, ready
from generated.api.model import model_info
from generated.api.scores import explain, predict, predict_batch
from generated.models import BatchRequest, ExplainRequest, FailedItem
from generated.models import PredictRequest, PredictResponse, Problem

url, key = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key)
video = PredictRequest(title="How do planes stay up?", published_at=datetime(2026, 3, 1, 12, tzinfo=UTC))
score = predict.sync(client=client, body=video)
assert isinstance(score, PredictResponse) and 0 <= score.viral_score <= 1, score
assert score.modalities.text.state == "used", score
batch = predict_batch.sync(client=client, body=BatchRequest(videos=[video, PredictRequest(title="")]))
assert [type(entry) for entry in batch.predictions] == [PredictResponse, FailedItem], batch
explained = explain.sync(client=client, body=ExplainRequest.from_dict(
    {"title": "x", "what_if": [{"title": "y"}]}))
assert explained.explanation.contributions and len(explained.what_if) == 1, explained
info = model_info.sync(client=client)
assert info.limits.max_batch_videos == 256 and info.features[0].training.scale > 0, info
assert ready.sync(client=client).model_loaded
assert live.sync_detailed(client=client).status_code == 200
assert "miles_" in metrics.sync_detailed(client=client).content.decode()
stranger = predict.sync(client=Client(base_url=url), body=video)
assert isinstance(stranger, Problem) and stranger.status == 401, stranger
"""


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that requires `KEY`."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(log, checkpoint=tiny_bundle, api_keys=KEY) as running:
        yield running


def test_openapi_python_clients_package_calls_every_route(guarded: Service, tmp_path: Path) -> None:
    """Scores, batches, explanations, the model and health, typed; a missing key is a Problem."""
    words = ["generate", "--path", DOCUMENT, "--output-path", tmp_path / "generated", "--meta", "none"]
    made = completed([sys.executable, "-m", "openapi_python_client", *words])
    assert made.returncode == 0, made.stdout + made.stderr
    done = completed([sys.executable, "-c", PYTHON, guarded.url, KEY], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_openapi_fetchs_client_calls_every_route(guarded: Service) -> None:
    """The same through openapi-typescript's types, which tsc checks in clients/typescript."""
    install(FOLDER)
    variables = {"MILES_GUARDED_URL": guarded.url, "MILES_GUARDED_KEY": KEY}
    ran = node(FOLDER, "--test", "--test-force-exit", "test/generated.test.ts", **variables)
    assert ran.returncode == 0, ran.stdout
