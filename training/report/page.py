"""The page: one self-contained HTML file."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import matplotlib as mpl
import sklearn

from model.checkpoint.store import Checkpoint
from training.data.dataset import Dataset
from training.measure.compare import COLUMNS, MODEL, NAMES
from training.measure.metrics import Interval, MetricsRow
from training.report.findings import Findings
from training.report.palette import DPI, WIDTH
from training.report.sentences import Caption

TEMPLATE = Path(__file__).with_name("page.html")
MARKS = {"good": "✓ Good", "fair": "~ Fair", "poor": "✗ Poor"}
HOW = (
    "The simple methods were fitted on the same training rows with the same inputs hidden: a constant; a "
    "logistic and a ridge regression on the logarithm of the views; the same two on every number that the "
    "model reads, and on these with the main components of the text; and gradient boosting on both "
    f"(scikit-learn {sklearn.__version__}, HistGradientBoosting, stopped on the validation rows).",
    "Intervals are paired 95% bootstrap intervals over videos with all their snapshots. “Significantly” "
    "means that the whole interval lies on one side of zero.",
    "What an input adds: the same model with that input neutral (the mean title, the neutral image, the mean "
    "of every number), without retraining.",
    "What moves the score is estimated by permutation: one fact is exchanged between videos at random, its "
    "features are recomputed, and the rest stays.",
    "Off by a factor: the mean of |log1p(predicted) - log1p(real)|, as a factor. MAE, R2 and nMSE (the mean "
    "squared error divided by the variance) are in log1p(views per day). Lift: viral videos in the tenth "
    "with the highest scores, as a multiple of chance. Coverage: the share of videos within the interval.",
)


def style() -> str:
    """The style sheet of every report's page."""
    return TEMPLATE.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]


@dataclass(frozen=True)
class Picture:
    """One picture in both themes, as PNG."""

    light: bytes
    dark: bytes
    height: int
    """Of its pixels; the width is the same for all."""


def render(
    findings: Findings,
    captions: Mapping[str, Caption],
    pictures: Mapping[str, Picture],
    checkpoint: Checkpoint,
    dataset: Dataset,
) -> str:
    """The whole page."""
    test = dataset.test
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        checkpoint=escape(checkpoint.card.name),
        rows=f"{len(test):,}",
        videos=f"{len(set(test.video_ids)):,}",
        viral=_viral(dataset.viral_threshold),
        summary="\n".join(summary_item(name, caption) for name, caption in captions.items()),
        sections="\n".join(section(name, caption, pictures[name]) for name, caption in captions.items()),
        drift=_drift(findings),
        table=_table(findings),
        notes="\n".join(f"<li>{note}</li>" for note in _notes(findings, checkpoint, dataset)),
    )


def _viral(threshold: float) -> str:
    """NaN is that the file itself says which rows are viral."""
    if math.isnan(threshold):
        return "A video counts as viral when the data says so."
    return f"A video counts as viral when it gains more than {threshold:,.0f} views a day."


def _verdict(verdict: str) -> str:
    return f'<span class="verdict {verdict}">{MARKS[verdict]}</span>'


def summary_item(name: str, caption: Caption) -> str:
    return f'<li>{_verdict(caption.verdict)} <a href="#{name}">{escape(caption.title)}</a></li>'


def section(name: str, caption: Caption, picture: Picture) -> str:
    light, dark = (base64.b64encode(each).decode() for each in (picture.light, picture.dark))
    return f"""<section id="{name}">
<h2>{escape(caption.title)}</h2>
<figure>
<picture>
<source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark}">
<img src="data:image/png;base64,{light}" alt="{escape(caption.alt)}"
  width="{round(WIDTH * DPI)}" height="{picture.height}">
</picture>
<figcaption class="{caption.verdict}">{_verdict(caption.verdict)}. {escape(caption.sentence)}</figcaption>
</figure>
<details><summary>The picture in numbers</summary><p>{escape(caption.alt)}</p></details>
</section>"""


def _table(findings: Findings) -> str:
    report = findings.report
    groups = [*report.by_age.items(), *report.by_pattern.items()]
    rows = [
        *((f"{NAMES[MODEL]}, {name}", report.rows[name], each) for name, each in report.intervals.items()),
        *((f"{name} ({each.rows:,} rows)", each.figures, each.intervals) for name, each in groups),
        *(
            (f"{NAMES[name]}, {condition}", row, None)
            for condition, comparison in findings.comparisons.items()
            for name, row in comparison.rows.items()
            if name != MODEL
        ),
    ]
    return _rows(
        "With inputs hidden in every video; by age; and by what is known of each. Higher is better for "
        "AUROC, PR-AUC, R2, Spearman and lift; lower for ECE, MAE and nMSE.",
        rows,
    )


def _drift(findings: Findings) -> str:
    """A section that compares checkpoints trained on older data; empty without any."""
    if not findings.drift:
        return ""
    models = {NAMES[MODEL]: {name: each.rows[MODEL] for name, each in findings.comparisons.items()}}
    rows = [
        (f"{name}, {condition}", row, None)
        for name, by_condition in {**models, **findings.drift}.items()
        for condition, row in by_condition.items()
    ]
    table = _rows("The same test rows.", rows)
    return f"""<section id="drift">
<h2>What a checkpoint trained on older data does here</h2>
<div class="wide" tabindex="0" role="region" aria-label="Older checkpoints, a table that scrolls sideways">
{table}
</div>
</section>"""


def _rows(title: str, rows: Sequence[tuple[str, MetricsRow, Mapping[str, Interval] | None]]) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in COLUMNS.values())
    bodies = []
    for label, row, intervals in rows:
        cells = "".join(f"<td>{_cell(row, column, intervals or {})}</td>" for column in COLUMNS)
        bodies.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    return (
        f'<table><caption>{title}</caption><thead><tr><th scope="col">model</th>{heads}</tr></thead>'
        f"<tbody>{''.join(bodies)}</tbody></table>"
    )


def _cell(row: MetricsRow, column: str, intervals: Mapping[str, Interval]) -> str:
    """A figure, with its interval where it is known; empty where there is no figure."""
    value = getattr(row, column)
    found = intervals.get(column)
    limits = "" if found is None else f"<br><small>{found.low:.3f} to {found.high:.3f}</small>"
    return "" if value is None else f"{value:.3f}{limits}"


def _data_notes(dataset: Dataset) -> list[str]:
    """What was found in the file, and every row that was left out."""
    split = [f"Split: {dataset.split_method}."] if dataset.split_method else []
    left_out = (
        [f"{dataset.purged_rows:,} rows lie between the splits and were left out."]
        if dataset.purged_rows
        else []
    )
    bad = [f"{count:,} rows were left out: {kind}." for kind, count in dataset.bad_rows.counts().items()]
    return [*split, *left_out, *bad, *dataset.notes]


def _notes(findings: Findings, checkpoint: Checkpoint, dataset: Dataset) -> Sequence[str]:
    """Already escaped."""
    card = checkpoint.card
    notes = card.provenance.get("notes", [])
    own = [str(note) for note in notes] if isinstance(notes, list) else []
    why = findings.why_no_images
    without = [] if not why else [f"{why[0].upper()}{why[1:]}: every video was scored without a thumbnail."]
    counts = ", ".join(
        f"{name} {len(split):,} rows"
        for name, split in vars(dataset).items()
        if name in ("train", "val", "test")
    )
    return [
        f"<code>./miles report {escape(card.name)} {escape(dataset.name)} --out DIR</code>",
        f"Checkpoint sha256 <code>{escape(card.sha256)}</code>",
        f"Data sha256 <code>{escape(dataset.sha256)}</code>: {counts}.",
        *(escape(note) for note in _data_notes(dataset)),
        *(escape(note) for note in [*own, *without, *HOW]),
        f"Pictures: matplotlib {escape(mpl.__version__)}.",
    ]
