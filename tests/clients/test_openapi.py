"""The committed OpenAPI document is the app's, and says enough for typed clients."""

import json
from typing import Any

import pytest

from deploy.openapi import PATH, document


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The document's schemas."""
    found: dict[str, Any] = json.loads(document())["components"]["schemas"]
    return found


def test_the_committed_document_is_the_apps() -> None:
    """clients/openapi.json is what the app says; `make openapi` writes it and the types."""
    assert PATH.read_text(encoding="utf-8") == document(), "run `make openapi` and commit what it wrote"


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


@pytest.mark.parametrize("field", ["description", "view_count", "duration_seconds", "require"])
def test_a_null_that_is_taken_is_described(field: str, schemas: dict[str, Any]) -> None:
    """Whole database rows can be sent, so the document lets fields be null that may be null."""
    members = schemas["PredictRequest"]["properties"][field]["anyOf"]
    assert {"type": "null"} in members


def test_counts_are_bounded_in_the_document(schemas: dict[str, Any]) -> None:
    """A count says its range in the words of JSON Schema."""
    count = schemas["PredictRequest"]["properties"]["view_count"]["anyOf"][0]
    assert count["minimum"] == 0
    assert count["maximum"] >= 2**63 - 1
