"""Colours for light and dark pages that colour-blind readers can tell apart, and the figures that use them.

Found by search: apart by a colour difference of 20 (CIE 1976) to normal, protan, deutan and tritan eyes, as
Machado et al. (2009) model them, and each line with a contrast of 3 : 1 to its background (WCAG 2.2, 1.4.11).
Lines differ in dash, too, and verdicts are words: no meaning depends on colour.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from training.report.page import Picture

WIDTH = 4.4  # inches: at this width 11 pt is 12 px where a phone shows the picture 345 px wide
DPI = 200
COLOURS = 64  # of the written PNG, smooth edges included
Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Palette:
    """One theme: the ground, words and grid, and a colour for each series."""

    name: str
    ground: str
    ink: str
    faint: str
    model: str
    series: tuple[str, str, str, str]
    heat: tuple[str, str, str]  # few rows to many


LIGHT = Palette(
    name="light",
    ground="#ffffff",
    ink="#1b1b1f",
    faint="#8a8a92",
    model="#0060a8",
    series=("#8b8b99", "#410931", "#09a163", "#bd7b1e"),
    heat=("#d3e3f1", "#4a90c8", "#002f57"),
)
DARK = Palette(
    name="dark",
    ground="#15171c",
    ink="#ececf1",
    faint="#80848f",
    model="#63bbf2",
    series=("#e9e9fb", "#b05a93", "#2efeab", "#f95800"),
    heat=("#2a3a4a", "#4a9fd6", "#f2f9ff"),
)


@contextmanager
def drawing(palette: Palette) -> Iterator[None]:
    """Within it, new figures have the theme's colours and sizes; then matplotlib's settings are restored."""
    settings: dict[Any, Any] = {  # matplotlib types its keys as a literal that it does not export
        "font.size": 11,
        "font.family": "DejaVu Sans",  # comes with matplotlib, so the pictures are the same everywhere
        "figure.facecolor": palette.ground,
        "axes.facecolor": palette.ground,
        "savefig.facecolor": palette.ground,
        "text.color": palette.ink,
        "axes.labelcolor": palette.ink,
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
        "axes.edgecolor": palette.faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": palette.faint,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
        "legend.title_fontsize": 9.5,
    }
    with mpl.rc_context(settings):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the common width, `height` inches tall, not bound to a window."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawn(plot: Callable[[Shown, Palette], Figure], shown: Shown) -> Picture:
    """One picture in both themes."""
    pictures = {}
    for palette in (LIGHT, DARK):
        with drawing(palette):
            figure = plot(shown, palette)
            pictures[palette.name] = to_png(figure)
    return Picture(**pictures, width=round(WIDTH * DPI), height=round(figure.get_figheight() * DPI))


def to_png(figure: Figure) -> bytes:
    """The figure as a small PNG without a date or a version: the same numbers give the same bytes."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    small = io.BytesIO()
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
