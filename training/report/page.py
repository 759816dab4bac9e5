"""The page of a report: one self-contained HTML file. Templates are stored with the modules that use them."""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from model.checkpoint.store import Checkpoint
from training.data.dataset import Dataset
from training.measure.compare import COLUMNS, MODEL, NAMES
from training.report.findings import Findings

MARKS = {"good": "✓ Good", "fair": "~ Fair", "poor": "✗ Poor"}

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1]),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
templates.globals |= {"marks": MARKS, "version": version}
templates.filters["base64"] = lambda content: base64.b64encode(content).decode()
templates.filters["commas"] = "{:,.0f}".format
templates.filters["exp"] = math.exp


@dataclass(frozen=True, slots=True)
class Caption:
    """A picture's heading, the sentence below it, its verdict and its alternative text."""

    title: str
    sentence: str
    verdict: str
    alt: str


@dataclass(frozen=True)
class Picture:
    """One picture in both themes, as PNG; its size is in pixels."""

    light: bytes
    dark: bytes
    width: int
    height: int


def render(
    findings: Findings,
    captions: Mapping[str, Caption],
    pictures: Mapping[str, Picture],
    checkpoint: Checkpoint,
    dataset: Dataset,
) -> str:
    """The whole page."""
    notes = checkpoint.card.provenance.get("notes", [])
    return templates.get_template("report/page.html").render(
        title=f"How good is {checkpoint.card.name}?",
        findings=findings,
        captions=captions,
        drawn=pictures,
        card=checkpoint.card,
        dataset=dataset,
        notes=notes if isinstance(notes, list) else [],
        is_viral_given=math.isnan(dataset.viral_threshold),
        columns=COLUMNS,
        names=NAMES,
        model=MODEL,
    )
