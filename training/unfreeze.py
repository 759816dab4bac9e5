"""Trains the encoders as well: with a provisional head on tokens and pixels, before the final head is fitted.

AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a low learning rate for the encoder and a higher one
for the head, linear warm-up and decay (Devlin et al. 2019, arXiv:1810.04805, appendix A). On a GPU in mixed
precision; on a CPU with gradient checkpointing (Chen et al. 2016, arXiv:1604.06174), which computes each
layer twice to keep the activations of one. The image encoder's batch normalisation keeps its statistics, as
batches are small. An interrupted run continues at its last saved batch.
"""

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from model.checkpoint.store import Checkpoint
from model.demo_checkpoint import SEEDED
from model.pretrained import fingerprint
from preprocessing.image import ImageReading, ImageSpec
from training.data.dataset import Dataset, DatasetError
from training.embeddings.cache import key_of
from training.embeddings.thumbnails import Pictures, ThumbnailSource
from training.encoders import Encoders
from training.head.fit import untrained_checkpoint
from training.head.tuning import TuningRun
from training.recipe import Recipe, Tuning
from training.tracking import Track, ignore


def unfreeze(
    encoders: Encoders,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    tuning: Tuning,
    cache: Path | None = None,
    device: str = "cpu",
    track: Track = ignore,
    thumbnails: ThumbnailSource | None = None,
) -> Encoders:
    """`encoders` with those that `tuning` names taken from the epoch with the lowest loss on val.

    The same rows, weights and seed give the same encoders on the same machine, interrupted or not. Raises
    `DatasetError` if the image encoder is asked for and no row has a thumbnail.
    """
    base = untrained_checkpoint(encoders, dataset, recipe, seed)
    pictures = _pictures(base, thumbnails, cache) if tuning.image else None
    inputs = (fingerprint(encoders.state_dict), dataset.sha256, dataset.text_fields, recipe, tuning, seed)
    path = cache and cache / f"unfreeze-{key_of(repr(inputs).encode()).hex()[:24]}.pt"
    with nullcontext() if pictures is None else pictures.opened(dataset):
        if pictures is not None and not len(pictures):
            raise DatasetError(
                f"{dataset.name}: no row has a usable thumbnail, which the image encoder is trained on; add "
                "--thumbnails DIR, or give --unfreeze text"
            )
        run = TuningRun(base, dataset, recipe, seed, tuning, device, pictures)
        run.resume(path)
        if not run.is_done:
            print(run.estimate(), flush=True)
            run.train(path, track)
    origins = {
        name: _origin(encoders.provenance[name], dataset, tuning, run)
        for name in ("text", "image")
        if getattr(tuning, name)
    }
    return replace(
        encoders,
        state_dict={**encoders.state_dict, **{name: tensor.cpu() for name, tensor in run.best.items()}},
        provenance={**encoders.provenance, **origins},
    )


def _pictures(base: Checkpoint, source: ThumbnailSource | None, cache: Path | None) -> Pictures:
    vision = base.card.config.vision
    if source is None or vision is None:
        raise DatasetError("--unfreeze image and --thumbnails none contradict each other; leave one out")
    reading = ImageReading(**base.card.image.model_dump())
    return Pictures(source, ImageSpec(vision.height, vision.width, reading), cache)


def _origin(start: dict[str, Any], dataset: Dataset, tuning: Tuning, run: TuningRun) -> dict[str, Any]:
    """Where the weights of a trained encoder come from."""
    shape = {"shape": start["shape"]} if "shape" in start else {}
    return {
        "kind": "pretrained",
        "source": f"{start.get('source', SEEDED)}, trained further on {dataset.name}",
        "start": start["kind"],
        **shape,
        "tuning": {**asdict(tuning), "epochs_run": run.epoch, "val_loss": run.best_loss},
    }
