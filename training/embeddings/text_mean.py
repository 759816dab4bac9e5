"""What the training texts were like: their scripts, and the mean vector that an explanation takes for none.

    python -m training.embeddings.text_mean DATA.csv.gz [--demo models/demo]

writes both into a demo head that was stored before they were kept, with the middle of each distribution and
the words for its training videos. Data other than what the head was trained on is refused; its weights,
golden answers and metrics stay as they are.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from features import script_shares
from model.demo import DEMO_DIRECTORY, METADATA_FILE, Demo, DemoError, compose, read_demo
from model.engine import Vectors
from model.torch_engine import TorchEngine
from training.data.dataset import DatasetError, Reading, Split, read_dataset
from training.data.distributions import training_distributions
from training.data.known_data import KNOWN_DATA, UNKNOWN_DATA
from training.embeddings.text import TitleVectors, encode, tokenizer_for


def training_titles(train: Split, vectors: Vectors) -> dict[str, Any]:
    """A checkpoint's `titles`, from the (N, D) text vectors of N training rows; videos count alike."""
    mean = np.average(vectors.astype(np.float64), axis=0, weights=train.weights)  # (D,)
    return {
        "mean_vector": mean.astype(np.float32).tolist(),
        "scripts": script_shares(sorted({video.title for video in train.videos})),
    }


def updated(demo: Demo, train: Split) -> dict[str, Any]:
    """The demo's metadata with what `train` was like, its texts through the demo's own encoder."""
    checkpoint = compose(demo)
    engine, tokenizer = TorchEngine(checkpoint), tokenizer_for(checkpoint)
    texts = sorted({video.title for video in train.videos})
    vectors = encode(engine, [tokenizer.encode(text) for text in texts])
    titles = TitleVectors({text: row for row, text in enumerate(texts)}, vectors)
    known = KNOWN_DATA.get(demo.metadata["provenance"]["data"]["sha256"], UNKNOWN_DATA)
    metadata = dict(demo.metadata)
    metadata["provenance"]["data"]["population"] = known["population"]
    metadata["distributions"] = training_distributions(engine, checkpoint, train, titles)
    metadata["titles"] = training_titles(train, titles.of(train.videos))
    return metadata


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the metadata anew; the exit status is 1 after an error, which goes to stderr in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.embeddings.text_mean", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=Path, help="the CSV or CSV.gz that the head was trained on")
    parser.add_argument("--demo", type=Path, default=DEMO_DIRECTORY, help="where head and metadata lie")
    options = parser.parse_args(arguments)
    try:
        _run(options.data, options.demo)
    except (DatasetError, DemoError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(path: Path, directory: Path) -> None:
    demo = read_demo(directory)
    trained_on = demo.metadata["provenance"]["data"]["sha256"]
    dataset = read_dataset(path, Reading(text=tuple(demo.metadata["text"]["fields"])))
    if dataset.sha256 != trained_on:
        raise DemoError(
            f"{path}: has the sha256 {dataset.sha256}, the head in {directory} was trained on {trained_on}. "
            "Name that file, or train a head with `python -m training.fit DATA --demo-head`."
        )
    text = json.dumps(updated(demo, dataset.train), indent=1, ensure_ascii=False, allow_nan=False)
    (directory / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
    print(f"{directory / METADATA_FILE}: titles and distributions of {len(dataset.train):,} training rows")


if __name__ == "__main__":
    sys.exit(main())
