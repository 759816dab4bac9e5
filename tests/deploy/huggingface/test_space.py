"""The Hugging Face Space: its front matter is valid, and is what README.md begins with."""

import re
from typing import Any

import pytest
import yaml

from tests.support.house import ROOT

BLOCK = re.compile(r"^---\n(.*?)^---\n", re.MULTILINE | re.DOTALL)
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def block_in(name: str) -> str:
    """The front matter in a file, fences included."""
    found = BLOCK.search((ROOT / name).read_text(encoding="utf-8"))
    assert found, f"{name} holds no front matter"
    return found.group(0)


@pytest.fixture
def matter() -> dict[str, Any]:
    """The Space's settings."""
    settings: dict[str, Any] = yaml.safe_load(block_in("deploy/huggingface/README.md").strip("-\n"))
    return settings


def test_the_space_is_a_docker_space(matter: dict[str, Any]) -> None:
    """It serves the port that the image exposes."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert matter["sdk"] == "docker"
    assert f"\nEXPOSE {matter['app_port']}\n" in dockerfile


def test_the_hub_accepts_the_settings(matter: dict[str, Any]) -> None:
    """Colours are of the hub's palette, the description fits its 60 characters, the licence is ours."""
    assert {matter["colorFrom"], matter["colorTo"]} <= COLOURS
    assert len(matter["short_description"]) <= 60
    assert matter["license"] == "mit"
    assert {"title", "emoji", "models", "tags"} <= matter.keys()


def test_the_readme_begins_with_the_block() -> None:
    """A Space reads its settings from the first lines of README.md and nowhere else."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(block_in("deploy/huggingface/README.md"))
