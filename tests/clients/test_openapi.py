"""The committed OpenAPI document is the app's, and says enough for typed clients."""

import json
from typing import Any

import pytest

from deploy.openapi import PATH, document


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document())["components"]["schemas"]
    return found


def test_the_committed_document_is_the_apps() -> None:
    """clients/openapi.json is what the app says; `make openapi` writes it and the types."""
    assert PATH.read_text(encoding="utf-8") == document(), "run `make openapi` and commit what it wrote"


def test_operations_have_names_tags_and_media_types() -> None:
    """Generators name a client's methods by the operation ids; media types are those that are sent."""
    described = json.loads(document())
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    assert described["info"]["title"] == "Miles"
    assert [operation["operationId"] for operation in operations] == [
        *("predict", "predictBatch", "explain", "home", "modelInfo"),
        *("reload", "live", "ready", "metrics", "youtubeVideo"),
    ]
    assert {tag for operation in operations for tag in operation["tags"]} == {
        *("scores", "model", "health", "youtube")
    }
    types = {each["operationId"]: [*each["responses"]["200"]["content"]] for each in operations}
    assert types["predictBatch"] == ["application/json", "application/x-ndjson"]
    assert types["home"] == ["application/json", "text/html"]
    assert types["metrics"] == ["text/plain"]


def test_examples_say_when_a_video_was_published(schemas: dict[str, Any]) -> None:
    """Age matters most to a score, so every example has both times."""
    examples = [schemas[name]["examples"][0] for name in ("PredictRequest", "ExplainRequest")]
    assert all({"published_at", "observed_at"} <= example.keys() for example in examples)


def test_an_answer_is_described(schemas: dict[str, Any]) -> None:
    """The keys that are always there are required, and the timings, which are asked for, are not."""
    answer = schemas["PredictResponse"]
    assert {"viral_score", "predicted_velocity", "modalities", "warnings"} <= set(answer["required"])
    assert "timings_ms" in answer["properties"].keys() - set(answer["required"])


def test_a_problem_is_described(schemas: dict[str, Any]) -> None:
    """RFC 9457's members are required, and the fields at fault are not."""
    problem = schemas["Problem"]
    assert set(problem["required"]) == {"type", "title", "status", "detail", "instance"}
    assert "errors" in problem["properties"]


def test_nulls_and_bounds_are_described(schemas: dict[str, Any]) -> None:
    """Whole database rows can be sent, so fields may be null; a count has its range."""
    for field in ("description", "view_count", "duration_seconds", "require"):
        assert {"type": "null"} in schemas["PredictRequest"]["properties"][field]["anyOf"], field
    count = schemas["PredictRequest"]["properties"]["view_count"]["anyOf"][0]
    assert count["minimum"] == 0
    assert count["maximum"] >= 2**63 - 1
