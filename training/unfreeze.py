"""Trains the text encoder, too: with a provisional head on its tokens, before the final head is fitted.

AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a low learning rate for the encoder and a higher one
for the head, linear warm-up and decay (Devlin et al. 2019, arXiv:1810.04805, appendix A). On a GPU in mixed
precision; on a CPU with gradient checkpointing (Chen et al. 2016, arXiv:1604.06174), which computes each
layer twice to keep the activations of one. An interrupted run continues at its last saved batch.
"""

import copy
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.checkpoint.store import Checkpoint
from model.demo import SEEDED, prefixed
from model.network import MultimodalViralityPredictor, TextEncoder
from model.outputs import KNOWN
from model.pretrained import fingerprint
from training.data.dataset import Dataset
from training.embeddings.cache import key_of, progress_bar
from training.encoders import Encoders
from training.head.fit import untrained_checkpoint
from training.head.knowns import learned_groups
from training.head.token_rows import TokenRows
from training.head.train import joint_loss
from training.recipe import Recipe, Tuning
from training.tracking import Track, ignore

SAVE_EVERY_S = 600.0
TRIAL_STEPS = 3  # the first of them is not timed
PREFIX = "text_encoder."
PARTS = ("network", "optimizer", "schedule", "gradients")
STATE = ("epoch", "batch", "waited", "best", "best_loss", "is_done")


def unfreeze(
    encoders: Encoders,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    tuning: Tuning,
    cache: Path | None = None,
    device: str = "cpu",
    track: Track = ignore,
) -> Encoders:
    """`encoders` with the text encoder of the epoch with the lowest loss on val.

    The same rows, weights and seed give the same encoder on the same machine, interrupted or not.
    """
    base = untrained_checkpoint(encoders, dataset, recipe, seed)
    run = _Run(base, dataset, recipe, seed, tuning, device)
    inputs = (fingerprint(encoders.state_dict), dataset.sha256, dataset.text_fields, recipe, tuning, seed)
    path = cache and cache / f"unfreeze-{key_of(repr(inputs).encode()).hex()[:24]}.pt"
    run.resume(path)
    if not run.is_done:
        print(run.estimate(), flush=True)
        run.train(path, track)
    tuned = {name: tensor.cpu() for name, tensor in run.best.items()}
    start = encoders.provenance["text"]
    origin = {
        "kind": "pretrained",
        "source": f"{start.get('source', SEEDED)}, trained further on {dataset.name}",
        "start": start["kind"],
        "shape": start["shape"],
        "tuning": {**asdict(tuning), "epochs_run": run.epoch, "val_loss": run.best_loss},
    }
    return replace(
        encoders,
        state_dict={**encoders.state_dict, **prefixed(PREFIX, tuned)},
        provenance={**encoders.provenance, "text": origin},
    )


class _Run:
    """One training run: the network, the optimizer, and how far it is."""

    def __init__(
        self, base: Checkpoint, dataset: Dataset, recipe: Recipe, seed: int, tuning: Tuning, device: str
    ) -> None:
        self.recipe, self.seed, self.tuning, self.device = recipe, seed, tuning, device
        self.train_rows, self.val_rows = (
            TokenRows.of(split, base, learned_groups(dataset)) for split in (dataset.train, dataset.val)
        )
        torch.manual_seed(seed)
        self.network = MultimodalViralityPredictor(replace(base.card.config, vision=None))
        text = {
            name.removeprefix(PREFIX): t for name, t in base.state_dict.items() if name.startswith(PREFIX)
        }
        self.encoder.load_state_dict(text, strict=False)  # computed buffers are not in a checkpoint
        if device == "cpu":
            self.encoder.bert.activation_checkpointing_enable()
        self.network.to(device)
        self.batches = -(-len(self.train_rows) // tuning.batch_size)
        self._prepare()
        self.epoch = self.batch = self.waited = 0
        self.best, self.best_loss, self.is_done = self._encoder_state(), float("inf"), False

    @property
    def encoder(self) -> TextEncoder:
        """The network's text encoder."""
        encoder = self.network.text_encoder
        assert encoder is not None, "training has an encoder of text"
        return encoder

    def _prepare(self) -> None:
        tuning = self.tuning
        head = [p for name, p in self.network.named_parameters() if not name.startswith(PREFIX)]
        groups: list[dict[str, Any]] = [
            {"params": list(self.encoder.parameters()), "lr": tuning.encoder_rate},
            {"params": head, "lr": tuning.head_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=tuning.weight_decay)
        steps = tuning.epochs * self.batches
        warm_up = max(int(steps * tuning.warm_up), 1)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(steps - warm_up, 1))
        )
        # bfloat16 has float32's range; only float16 needs its gradients scaled.
        has_bfloat16 = self.device == "cpu" or torch.cuda.is_bf16_supported()
        self.half = torch.bfloat16 if has_bfloat16 else torch.float16
        self.gradients = torch.amp.GradScaler(self.device, enabled=not has_bfloat16)

    def _encoder_state(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.encoder.state_dict().items()}

    def resume(self, path: Path | None) -> None:
        """Continue where an interrupted run of the same inputs stopped."""
        if path is None or not path.exists():
            return
        saved = torch.load(path, self.device, weights_only=True)
        for name in PARTS:
            getattr(self, name).load_state_dict(saved[name])
        for name in STATE:
            setattr(self, name, saved[name])
        print(f"{path}: continuing in epoch {self.epoch + 1} at batch {self.batch + 1}", flush=True)

    def save(self, path: Path | None) -> None:
        """Write all that `resume` reads."""
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {
            name: getattr(self, name).state_dict()
            for name in ("network", "optimizer", "schedule", "gradients")
        }
        state = {
            name: getattr(self, name) for name in ("epoch", "batch", "waited", "best", "best_loss", "is_done")
        }
        partial = path.with_name(f"{path.name}.partial")
        torch.save(parts | state, partial)
        partial.replace(path)

    def estimate(self) -> str:
        """A sentence with the time that all epochs take at most, from a few steps on a copy."""
        real, own = self.network, (self.optimizer, self.schedule, self.gradients)
        self.network = copy.deepcopy(real)
        self._prepare()
        order, scalars = self.train_rows.epoch(self.seed + self.epoch, self.recipe)
        seconds = []
        for step in range(TRIAL_STEPS):
            started = time.perf_counter()
            self._step(order, scalars, step % self.batches)
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        self._validation_loss(limit=1)
        val_s = (time.perf_counter() - started) * (-(-len(self.val_rows) // self.tuning.batch_size))
        self.network, (self.optimizer, self.schedule, self.gradients) = real, own
        step_s = sum(seconds[1:]) / len(seconds[1:])
        left = (self.tuning.epochs - self.epoch) * self.batches - self.batch
        total_s = left * step_s + (self.tuning.epochs - self.epoch) * val_s
        shown = f"{total_s / 3600:.1f} hours" if total_s >= 3600 else f"{max(total_s / 60, 0.1):.1f} minutes"
        how = "a CPU with gradient checkpointing" if self.device == "cpu" else "a GPU in mixed precision"
        return (
            f"training the text encoder: at most {shown} for {left:,} batches of {self.tuning.batch_size} "
            f"rows ({step_s:.2f} s each, measured on {how}). Ctrl-C stops it; the same command continues."
        )

    def train(self, path: Path | None, track: Track) -> None:
        """All epochs that are left, or fewer where the loss on val no longer falls."""
        saved_at = time.monotonic()
        while self.epoch < self.tuning.epochs and self.waited < self.tuning.patience:
            order, scalars = self.train_rows.epoch(self.seed + self.epoch, self.recipe)
            with progress_bar(self.batches, f"batches of epoch {self.epoch + 1}", self.batch) as bar:
                while self.batch < self.batches:
                    self._step(order, scalars, self.batch)
                    self.batch += 1
                    bar.update(1)
                    if time.monotonic() - saved_at > SAVE_EVERY_S:
                        self.save(path)
                        saved_at = time.monotonic()
            loss = self._validation_loss()
            self.epoch, self.batch, self.waited = self.epoch + 1, 0, self.waited + 1
            if loss < self.best_loss:
                self.best, self.best_loss, self.waited = self._encoder_state(), loss, 0
            print(f"text encoder, epoch {self.epoch}: val loss {loss:.4f}", flush=True)
            self.is_done = self.epoch == self.tuning.epochs or self.waited >= self.tuning.patience
            self.save(path)
            track({"encoder_val_loss": loss}, self.epoch)

    def _step(self, order: Tensor, scalars: Tensor, batch: int) -> None:
        # Dropout's draws depend on the place only, so that an interrupted run draws the same.
        torch.manual_seed(self.seed + self.epoch * self.batches + batch)
        size = self.tuning.batch_size
        rows = order[batch * size : (batch + 1) * size].tolist()
        self.network.train()
        loss = self._loss(self.train_rows, rows, scalars)
        self.optimizer.zero_grad()
        self.gradients.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.gradients.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.tuning.max_norm)
        self.gradients.step(self.optimizer)
        self.gradients.update()
        self.schedule.step()

    @torch.no_grad()
    def _validation_loss(self, limit: int | None = None) -> float:
        """The mean loss on val with everything known and with the text only; `limit` batches of it."""
        self.network.eval()
        rows, size = self.val_rows, self.tuning.batch_size
        starts = range(0, len(rows), size)[:limit]
        losses, weights = [], []
        for scalars in (rows.scalars(), rows.scalars(KNOWN)):
            for start in starts:
                chosen = list(range(start, min(start + size, len(rows))))
                losses.append(float(self._loss(rows, chosen, scalars)))
                weights.append(float(rows.targets[2][chosen].sum()))
        return float(np.average(losses, weights=weights))

    def _loss(self, rows: TokenRows, chosen: list[int], scalars: Tensor) -> Tensor:
        with torch.autocast(self.device, self.half, enabled=self.device != "cpu"):
            tokens = rows.tokens_of(chosen).to(self.device)
            logits, target = self.network(*tokens, None, scalars[chosen].to(self.device))
        outputs = torch.cat([logits, target], dim=1).float()
        is_viral, wanted, weights = (each[chosen].to(self.device) for each in rows.targets)
        return joint_loss(outputs, is_viral, wanted, weights, self.recipe)
