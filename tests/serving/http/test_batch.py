"""POST /predict/batch over real HTTP."""

import json
import threading

import httpx
import pytest

from tests.support.thumbnail_host import ThumbnailHost

FIXED = {"published_at": "2026-01-01T00:00:00Z", "observed_at": "2026-01-03T00:00:00Z"}


def test_predictions_come_in_the_order_of_the_request(client: httpx.Client) -> None:
    videos = [{"title": "words " * (1 + 7 * i % 40), "view_count": 10**i, **FIXED} for i in range(12)]
    answer = client.post("/predict/batch", json={"videos": videos}).json()
    alone = [client.post("/predict", json=video).json() for video in videos]
    batched = [entry["viral_score"] for entry in answer["predictions"]]
    assert batched == pytest.approx([entry["viral_score"] for entry in alone], abs=2e-6)
    assert len(set(batched)) == 12
    assert isinstance(answer["processing_time_ms"], int)


def test_the_refusal_of_a_bare_list_shows_the_form_of_a_batch(client: httpx.Client) -> None:
    """A bare list of videos, which many services accept."""
    refused = client.post("/predict/batch", json=[{"title": "x"}])
    assert refused.status_code == 422
    assert '{"videos": [...]} for a batch' in refused.json()["detail"]


def test_bad_item_spares_its_neighbours(client: httpx.Client, host: ThumbnailHost) -> None:
    """An invalid video, and one that lacks what it requires, each get a problem; the others get a score."""
    videos = [
        {"title": "good", **FIXED},
        {"title": ""},
        "no video at all",
        {"title": "no image", "require": ["image"]},
        {"title": "broken image", "thumbnail_url": host.url + "/page.html", **FIXED},
    ]
    first, invalid, absurd, lacking, degraded = client.post("/predict/batch", json={"videos": videos}).json()[
        "predictions"
    ]
    assert "viral_score" in first
    assert invalid["error"]["status"] == 422
    assert invalid["error"]["errors"][0]["field"] == "title"
    assert absurd["error"]["status"] == 422
    assert lacking["error"]["status"] == 422
    assert degraded["modalities"]["image"]["reason"] == "unsupported_format"


@pytest.mark.parametrize("count", [0, 257])
def test_batch_outside_1_to_256_is_422(client: httpx.Client, count: int) -> None:
    assert client.post("/predict/batch", json={"videos": [{"title": "x"}] * count}).status_code == 422


def test_ndjson_streams_a_line_per_video(client: httpx.Client) -> None:
    """With `Accept: application/x-ndjson` every video gets one line that carries its index."""
    videos = [{"title": f"video {i}", **FIXED} for i in range(9)] + [{"title": None}]
    headers = {"Accept": "application/x-ndjson"}
    with client.stream("POST", "/predict/batch", json={"videos": videos}, headers=headers) as response:
        assert response.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in response.iter_lines()]
    assert sorted(line["index"] for line in lines) == list(range(10))
    assert next(line for line in lines if line["index"] == 9)["error"]["status"] == 422
    assert all("viral_score" in line for line in lines if line["index"] < 9)


def test_home_answers_while_a_batch_of_256_runs(client: httpx.Client, host: ThumbnailHost) -> None:
    """Forwards, decoding and downloads leave the event loop free: health is answered in the meantime."""
    videos = [{"title": f"video {i}", "thumbnail_url": host.thumbnail(i), **FIXED} for i in range(256)]
    finished: list[httpx.Response] = []
    batch = threading.Thread(
        target=lambda: finished.append(client.post("/predict/batch", json={"videos": videos}))
    )
    batch.start()
    answered_meanwhile = 0
    while batch.is_alive():
        assert client.get("/").status_code == 200
        answered_meanwhile += not finished
        batch.join(0.05)  # a client that asked without a pause would take the cores from the batch
    predictions = finished[0].json()["predictions"]
    assert answered_meanwhile > 3
    assert len(predictions) == 256
    assert all(entry["modalities"]["image"]["state"] == "used" for entry in predictions)


def test_fifty_singles_at_once_are_all_scored(client: httpx.Client) -> None:
    """A burst of 50 requests gets 50 scores, each for its own video."""
    answers: dict[int, float] = {}

    def post(index: int) -> None:
        body = {"title": "x " * (index + 1), "view_count": 3**index % 10_000_000, **FIXED}
        answers[index] = client.post("/predict", json=body).raise_for_status().json()["viral_score"]

    threads = [threading.Thread(target=post, args=(index,)) for index in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    burst = dict(answers)
    for index in (0, 7, 31, 49):
        post(index)
        assert answers[index] == pytest.approx(burst[index], abs=2e-6)
