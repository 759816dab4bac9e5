"""`/explain` over HTTP: the parts, the changes, and that it is a scoring route like the others."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.http.test_predict import ANSWER_KEYS
from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost

VIDEO = {
    "title": "I tried 5 viral pasta hacks!",
    "description": "Recipe below.",
    "view_count": 52_000,
    "like_count": 3100,
    "comment_count": 240,
    "published_at": "2018-01-05T12:00:00Z",
    "observed_at": "2018-01-07T12:00:00Z",
}


def explain(client: httpx.Client, **fields: Any) -> Any:
    answer = client.post("/explain", json=VIDEO | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def predict(client: httpx.Client, **fields: Any) -> Any:
    answer = client.post("/predict", json=VIDEO | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def outcome(answer: dict[str, Any]) -> tuple[float, float]:
    """What two answers to the same video share."""
    return answer["viral_score"], answer["predicted_velocity"]


def assert_adds_up(answer: dict[str, Any]) -> None:
    """The parts lead from the baseline to the answer."""
    explanation = answer["explanation"]
    for key in ("viral_score", "predicted_velocity"):
        total = sum(part[key] for part in explanation["contributions"])
        assert explanation["baseline"][key] + total == pytest.approx(answer[key], abs=1e-4), key


def test_the_answer_is_that_of_predict_and_what_moved_it(client: httpx.Client) -> None:
    """The keys and the score of `/predict`, an explanation that adds up, and no changes unless asked for."""
    answer = explain(client)
    assert answer.keys() == ANSWER_KEYS | {"explanation", "what_if"}
    assert outcome(answer) == outcome(predict(client))
    assert_adds_up(answer)
    assert answer["what_if"] == explain(client, what_if=None)["what_if"] == []
    groups = [part["group"] for part in answer["explanation"]["contributions"]]
    assert len(groups) == len(set(groups))
    assert {"text", "image", "size", "age"} <= set(groups)


def test_a_thumbnail_has_its_part(client: httpx.Client, host: ThumbnailHost) -> None:
    """With a picture the image moves the score; without one it moves nothing."""
    parts = {}
    for url in (None, host.thumbnail(31)):
        answer = explain(client, thumbnail_url=url)
        assert_adds_up(answer)
        parts[url] = next(p for p in answer["explanation"]["contributions"] if p["group"] == "image")
    assert parts[None]["viral_score"] == 0
    assert parts[host.thumbnail(31)]["viral_score"] != 0


def test_predict_explains_when_asked(client: httpx.Client) -> None:
    """`explain: true` adds the explanation, also to one item of a batch; otherwise the key is absent."""
    assert_adds_up(predict(client, explain=True))
    assert "explanation" not in predict(client)
    assert "explanation" not in predict(client, explain=None)
    batch = client.post("/predict/batch", json={"videos": [VIDEO, VIDEO | {"explain": True}]}).json()
    assert "explanation" not in batch["predictions"][0]
    assert_adds_up(batch["predictions"][1])


def test_a_change_is_scored_like_a_request_of_its_own(client: httpx.Client, host: ThumbnailHost) -> None:
    """Title, picture, counts and an alias: each gets what `/predict` says about the changed video."""
    changes: list[dict[str, Any]] = [
        {"title": "How do planes stay up?"},
        {"thumbnail_url": host.thumbnail(31)},
        {"view_count": 520_000, "like_count": None},
        {"upload_date": "2018-01-01T00:00:00Z"},
        {},
    ]
    answer = explain(client, what_if=changes)
    assert [entry["changes"] for entry in answer["what_if"]] == changes
    for entry in answer["what_if"]:
        fields = dict(entry["changes"])
        if "upload_date" in fields:
            fields["published_at"] = fields.pop("upload_date")
        assert outcome(entry["prediction"]) == outcome(predict(client, **fields)), entry["changes"]
    assert len({outcome(entry["prediction"]) for entry in answer["what_if"]}) == len(changes)
    assert outcome(answer["what_if"][-1]["prediction"]) == outcome(answer)


def test_a_bad_change_spares_the_others(client: httpx.Client) -> None:
    """A negative count and an unknown field each get their own 422; the third change is scored."""
    what_if = [{"view_count": -1}, {"view_cuont": 7}, {"view_count": 7}]
    below, unknown, good = explain(client, what_if=what_if)["what_if"]
    assert below["error"]["status"] == unknown["error"]["status"] == 422
    assert below["error"]["errors"][0]["field"] == "view_count"
    assert unknown["error"]["errors"][0]["field"] == "view_cuont"
    assert "prediction" in good


def test_a_required_picture_is_required_of_each_change(client: httpx.Client, host: ThumbnailHost) -> None:
    """With `require`, taking the picture away is refused for that change alone."""
    answer = explain(
        client, thumbnail_url=host.thumbnail(31), require=["image"], what_if=[{"thumbnail_url": None}]
    )
    assert answer["what_if"][0]["error"]["status"] == 422
    assert client.post("/explain", json=VIDEO | {"require": ["image"]}).status_code == 422


@pytest.mark.parametrize(
    "what_if",
    [[{}] * 17, {"title": "x"}, ["x"], [{"title": {"a": 1}}], [{"view_count": [[1]]}]],
    ids=["seventeen", "an object", "no objects", "a nested value", "a nested list"],
)
def test_an_invalid_list_of_changes_is_refused(client: httpx.Client, what_if: Any) -> None:
    """More than sixteen, or anything but a list of flat objects, is a 422 about what_if."""
    answer = client.post("/explain", json=VIDEO | {"what_if": what_if})
    assert answer.status_code == 422
    assert all(re.fullmatch(r"what_if[\w.]*", error["field"]) for error in answer.json()["errors"]), (
        answer.json()
    )


@pytest.mark.parametrize(
    "body", [rb'{"title":"x","what_if":[{"title":"\ud800"}]}', rb'{"title":"x","what_if":[{"\ud800":1}]}']
)
def test_half_characters_are_repaired(client: httpx.Client, body: bytes) -> None:
    """A lone surrogate in a change, or in its name, comes back as the replacement character."""
    answer = client.post("/explain", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert "\ufffd" in str(answer.json()["what_if"][0]["changes"])


def test_the_model_info_gives_the_baseline_of_the_text(client: httpx.Client) -> None:
    """The baseline of each modality is given; this checkpoint does not have its titles' mean."""
    told = client.get("/model/info").json()["explanation"]
    assert told["baseline"]["text"] == "embedding of an empty text"
    assert told["players"][:2] == ["text", "image"]


def test_explanations_and_a_batch_at_once_are_all_answered(service: Service) -> None:
    """Four explanations, their changes explained too, beside a batch: nothing is shed or mixed up."""

    async def all_at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as session:
            what_if = [{"view_count": 1000 * number, "explain": True} for number in (1, 2)]
            asked = [session.post("/explain", json=VIDEO | {"what_if": what_if}) for _ in range(4)]
            asked.append(session.post("/predict/batch", json={"videos": [VIDEO] * 16}))
            return await asyncio.gather(*asked)

    *explained, batch = asyncio.run(all_at_once())
    scores = {outcome(entry) for entry in batch.json()["predictions"]}
    assert len(scores) == 1
    for answer in explained:
        assert_adds_up(answer.json())
        assert outcome(answer.json()) in scores
        for entry in answer.json()["what_if"]:
            assert_adds_up(entry["prediction"])


@pytest.fixture(scope="module")
def guarded(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with a key and a limit of eight videos a minute."""
    log = tmp_path_factory.mktemp("log") / "guarded.log"
    key = "sesame-sesame-sesame-1"
    with (
        ready_service(log, checkpoint=tiny_path, precision="f32", api_keys=key, rate_limit=8) as running,
        httpx.Client(base_url=running.url, timeout=60) as session,
    ):
        yield session


def test_the_route_is_guarded_and_counted_like_the_others(guarded: httpx.Client) -> None:
    """A key is needed; the explained video counts as four, each change as one, and the last gets a 429."""
    assert guarded.post("/explain", json=VIDEO).status_code == 401
    guarded.headers["Authorization"] = "Bearer sesame-sesame-sesame-1"
    answer = guarded.post("/explain", json=VIDEO | {"what_if": [{"view_count": n} for n in range(1, 6)]})
    assert answer.status_code == 200
    entries = answer.json()["what_if"]
    assert ["prediction" in entry for entry in entries] == [True] * 4 + [False]
    assert entries[4]["error"]["status"] == 429
    assert guarded.post("/explain", json=VIDEO).status_code == 429
    exposed = guarded.get("/metrics").text
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
    }
    assert values[("miles_requests_total", "/explain", "200", "POST")] == 1
    assert values[("miles_stage_seconds_count", "explanation")] == 1
    assert values[("miles_viral_score_count",)] == 5


def test_a_group_of_unknown_fields_is_labelled(client: httpx.Client) -> None:
    """A group whose fields are unknown is labelled so, and adds nothing if the model has no flag for it."""
    answer = explain(client, like_count=None, comment_count="", duration_seconds=None)
    parts = {part["group"]: part for part in answer["explanation"]["contributions"]}
    found = {name: (part["label"], part["unknown"]) for name, part in parts.items()}
    assert found["reaction"] == ("Likes, comments and shares (not known)", ["like_count", "comment_count"])
    assert found["duration"] == ("Length of the video (not known)", ["duration_seconds"])
    assert found["size"] == ("Views so far", [])
    assert parts["reaction"]["viral_score"] == parts["duration"]["viral_score"] == 0
    labels = [part["label"] for part in explain(client, comment_count=None)["explanation"]["contributions"]]
    assert "Likes, comments and shares (comment_count not known)" in labels
