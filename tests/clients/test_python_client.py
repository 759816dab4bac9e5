"""miles_client, sync and async, against a real service, and the package as pip installs it."""

import asyncio
import datetime
import decimal
import json
import math
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from deploy.single_files import CLIENTS
from miles_client import (
    AsyncClient,
    BusyError,
    Client,
    IncompleteBatchError,
    KeyRefusedError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
    Video,
    models,
)
from tests.clients.door import WAKING_PAGE, Door
from tests.support.process import completed, free_port
from tests.support.service import Service, ready_service
from tests.support.web import Reply

VIDEO = Video(
    title="How do planes stay up?",
    view_count=1500,
    published_at=datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC),
    observed_at="2026-03-02T12:00:00Z",
)
NAMED = (
    *("ModalityState", "ScalarsState", "Modalities", "VelocityInterval", "Explanation", "Timings"),
    *("Baseline", "Contribution", "Problem", "Health", "ShadowScore"),
)
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(door: Door) -> Iterator[Client]:
    """A client of the door that waits 0.05 s where a user's waits seconds."""
    with Client(door.url, waits_s=[0.05], patience_s=30) as opened:
        yield opened


def test_a_prediction_is_the_services_answer_with_types(client: Client, service: Service) -> None:
    answer = httpx.post(f"{service.url}/predict", json=msgspec.to_builtins(VIDEO)).json()
    found: Any = msgspec.to_builtins(client.predict(VIDEO))
    assert {name for name, value in found.items() if value is not None and name not in answer} == set()
    assert found["modalities"]["scalars"] == answer["modalities"]["scalars"] | {"detail": None}
    for name in ("viral_score", "predicted_velocity", "velocity_interval", "in_range", "warnings"):
        assert found[name] == answer[name], name


def test_a_database_row_is_a_video(client: Client, door: Door) -> None:
    """Decimals, ids, times, nulls and NaN are sent as the service reads them; other columns do no harm."""
    row = {
        "id": uuid.UUID(int=7),
        "title": "row",
        "view_count": decimal.Decimal(5),
        "upload_date": datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC),
        "like_count": None,
        "comment_count": math.nan,
    }
    assert 0 <= client.predict(row).viral_score <= 1
    assert door.calls[0].body["view_count"] == "5"
    assert door.calls[0].body["upload_date"] == "2026-03-01T12:00:00Z"
    assert door.calls[0].body["comment_count"] is None


def test_a_batch_has_an_entry_for_each_of_any_number_of_videos(client: Client, door: Door) -> None:
    entries = client.predict_batch([{"title": "" if index == 258 else "x"} for index in range(260)])
    assert [entry.index for entry in entries] == list(range(260))
    assert [entry.index for entry in entries if entry.error] == [258]
    assert door.paths() == ["/predict/batch", "/predict/batch"]


def test_a_stream_has_the_same_entries(client: Client) -> None:
    videos = [{"title": f"video {index}"} for index in range(6)]
    streamed = sorted(client.stream(videos), key=lambda entry: entry.index)
    scores = [entry.prediction and entry.prediction.viral_score for entry in client.predict_batch(videos)]
    assert [entry.prediction and entry.prediction.viral_score for entry in streamed] == scores


def test_a_stream_that_ends_early_names_the_missing_videos(
    client: Client, door: Door, service: Service
) -> None:
    answer = httpx.post(f"{service.url}/predict", json={"title": "x"}).json()
    line = json.dumps({"index": 1, **answer}).encode() + b"\n"
    door.plan.append(Reply(200, line, {"Content-Type": "application/x-ndjson"}))
    with pytest.raises(IncompleteBatchError) as caught:
        list(client.stream([{"title": "a"}, {"title": "b"}, {"title": "c"}]))
    assert caught.value.missing == [0, 2]


def test_an_explanation_has_the_changed_videos(client: Client) -> None:
    found = client.explain(VIDEO, [{"title": "Planes"}, {"view_count": -1}])
    assert found.explanation is not None
    assert found.explanation.contributions
    assert found.what_if[0].prediction is not None
    assert found.what_if[1].error is not None


def test_a_sleeping_space_is_waited_for(door: Door) -> None:
    door.plan.extend([Reply(200, WAKING_PAGE, {"Content-Type": "text/html"}), Reply(503, b"", {})])
    waits: list[tuple[float, str]] = []
    with Client(
        door.url, waits_s=[0.01, 0.02], on_wait=lambda wait, error: waits.append((wait, type(error).__name__))
    ) as client:
        assert client.predict(VIDEO).model_version
    assert waits == [(0.01, "AsleepError"), (0.02, "AsleepError")]


def test_an_overload_is_retried_after_what_the_service_asks_for(door: Door) -> None:
    """Retry-After overrides the planned waits; beyond the patience, the error is raised at once."""
    body = json.dumps(
        {"type": "urn:miles:problem:overloaded", "title": "Overloaded", "detail": "At capacity"}
    )
    busy = Reply(503, body.encode(), {"Content-Type": "application/problem+json", "Retry-After": "900"})
    door.plan.append(busy)
    with Client(door.url) as client, pytest.raises(BusyError, match="503: At capacity") as caught:
        client.predict(VIDEO)
    assert caught.value.retry_after_s == 900
    assert len(door.calls) == 1


def test_a_refusal_names_the_field_and_what_is_expected(client: Client, door: Door) -> None:
    """It is raised at once, with the request's id."""
    with pytest.raises(RefusedError, match="422: view_count: ") as caught:
        client.predict({"title": "x", "view_count": "many"})
    assert caught.value.errors[0]["field"] == "view_count"
    assert caught.value.request_id
    assert len(door.calls) == 1


def test_a_key_is_sent_and_a_missing_one_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    with ready_service(tmp_path / "log", checkpoint=tiny_bundle, api_keys="k" * 24) as guarded:
        with Client(guarded.url) as stranger, pytest.raises(KeyRefusedError, match=r"`; set api_key"):
            stranger.predict(VIDEO)
        with Client(guarded.url, "k" * 24) as known:
            assert known.predict(VIDEO).model_version


def test_another_services_answer_is_named_with_the_next_step(client: Client, door: Door) -> None:
    """JSON that is not a score, a redirect, a page with a 404."""
    rows = {
        b'{"a": 1}': (200, "check the URL"),
        b"": (302, "redirects to https://other.example/: use that address"),
        b"<p>": (404, "status 404"),
    }
    failures = []
    for body, (status, words) in rows.items():
        kind = JSON if status == 200 else {"Content-Type": "text/html", "Location": "https://other.example/"}
        door.plan.append(Reply(status, body, kind))
        try:
            client.predict(VIDEO)
            failures.append((status, "no error"))
        except UnexpectedAnswerError as error:
            if words not in str(error):
                failures.append((status, str(error)))
    assert failures == []


def test_a_host_that_is_not_there_is_unreachable_after_the_patience() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}", patience_s=0.1) as client,
        pytest.raises(UnreachableError, match="no connection"),
    ):
        client.predict(VIDEO)


def test_an_invalid_url_is_refused_at_once() -> None:
    failures = []
    for url in ("localhost:7860", "ftp://x", "https://huggingface.co/spaces/a/b", "http://[::1"):
        try:
            Client(url)
            failures.append(url)
        except ValueError:
            pass
    assert failures == []


def test_the_async_client_does_the_same(door: Door) -> None:
    """Every method, with a sleeping Space first."""
    door.plan.append(Reply(503, b"", {}))

    async def all_of_it() -> list[Any]:
        async with AsyncClient(door.url, waits_s=[0.01]) as client:
            health = await client.wake()
            one = await client.predict(VIDEO, timings=True)
            batch = await client.predict_batch([VIDEO, {"title": ""}])
            streamed = [entry async for entry in client.stream([VIDEO, VIDEO])]
            explained = await client.explain(VIDEO, [{"title": "y"}])
            info = await client.model_info()
            with pytest.raises(RefusedError):
                await client.predict({"title": ""})
            return [health, one, batch, streamed, explained, info]

    health, one, batch, streamed, explained, info = asyncio.run(all_of_it())
    assert health.model_loaded
    assert one.timings_ms.total > 0
    assert [bool(entry.error) for entry in batch] == [False, True]
    assert {entry.prediction.viral_score for entry in streamed} == {one.viral_score}
    assert explained.what_if[0].prediction.viral_score != 0
    assert info["model_version"] == one.model_version


def test_the_models_have_every_field_of_the_openapi_document() -> None:
    """A field that the service adds must be added here."""
    schemas = json.loads((CLIENTS / "openapi.json").read_text())["components"]["schemas"]
    pairs = {
        "PredictRequest": models.Video,
        "PredictResponse": models.Prediction,
        "ExplainResponse": models.Explained,
        **{
            name: getattr(models, name) for name in ("ModalityState", "ScalarsState", "Modalities", "Timings")
        },
        **{name: getattr(models, name) for name in NAMED},
    }
    assert {
        name: sorted(set(schemas[name]["properties"]) ^ set(kind.__struct_fields__))
        for name, kind in pairs.items()
        if set(schemas[name]["properties"]) != set(kind.__struct_fields__)
    } == {}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has built and installed the package."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = completed(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--target", folder, CLIENTS / "python"]
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_installed_package_is_typed_and_has_its_commands(
    installed: Path, service: Service, tmp_path: Path
) -> None:
    """py.typed is there, and miles-score-file scores a file."""
    assert (installed / "miles_client" / "py.typed").is_file()
    (tmp_path / "v.csv").write_text("title\nfirst\n")
    done = subprocess.run(
        [sys.executable, installed / "bin" / "miles-score-file", "v.csv", "--url", service.url],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "v.scored.csv").is_file()


def test_the_readmes_example_runs(installed: Path, service: Service) -> None:
    """With this service's address."""
    text = (CLIENTS / "python" / "README.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    code = code.replace("https://owner-miles.hf.space", service.url)
    done = completed([sys.executable, "-c", code], env={"PYTHONPATH": str(installed)})
    assert done.returncode == 0, done.stderr
    assert "views a day" in done.stdout
