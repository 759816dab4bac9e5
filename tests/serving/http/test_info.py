"""GET /model/info."""

from typing import Any

import httpx
import pytest

from features import MILES_V1
from serving.resources import usable_cpus


@pytest.fixture(scope="module")
def info(client: httpx.Client) -> dict[str, Any]:
    body: dict[str, Any] = client.get("/model/info").json()
    return body


def test_features_are_named_with_units(info: dict[str, Any]) -> None:
    """All 18 features are there, in order, each with formula, unit and training statistics."""
    assert [feature["name"] for feature in info["features"]] == list(MILES_V1)
    assert all(feature["unit"] and feature["formula"] for feature in info["features"])
    assert all(feature["training"]["scale"] > 0 for feature in info["features"])


def test_architecture_follows_the_weights(info: dict[str, Any]) -> None:
    """The tiny network's widths are reported as they are: 64 + 512 + 18 -> 64 -> 32."""
    assert info["architecture"]["fusion"] == "594 -> 64 -> 32"


def test_parameters_add_up(info: dict[str, Any]) -> None:
    """Trainable and frozen parameters add up to the total, and the head's count follows from its shapes."""
    parameters = info["parameters"]
    head = 594 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2 + 32 + 1
    assert parameters["trainable"] == head
    assert parameters["trainable"] + parameters["frozen"] == parameters["total"]


def test_checkpoint_is_identified(info: dict[str, Any]) -> None:
    assert info["checkpoint"]["name"] == "tiny.pt"
    assert len(info["checkpoint"]["sha256"]) == 64


def test_engine_and_calibration_are_reported(info: dict[str, Any]) -> None:
    """Engine, precision and the calibration's temperature are part of the answer."""
    assert info["engine"] == {
        "name": "openvino",
        "device": "cpu",
        "precision": "text f32, image f32, fusion f32",
        "threads": usable_cpus(),
    }
    assert info["calibration"].items() >= {"temperature": 1.3, "calibrated": True}.items()
