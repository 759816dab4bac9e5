"""One run of training the encoders with a provisional head; see `training.unfreeze`."""

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from model.checkpoint.store import Checkpoint
from model.network import MultimodalViralityPredictor
from model.outputs import KNOWN
from training.data.dataset import Dataset
from training.embeddings.cache import progress_bar
from training.embeddings.thumbnails import Pictures
from training.head.knowns import learned_groups
from training.head.token_rows import TokenRows
from training.head.train import joint_loss
from training.recipe import Recipe, Tuning
from training.tracking import Track

SAVE_EVERY_S = 600.0
STEM = 4  # the parts of a ResNet before its stages: convolution, normalisation, ReLU, pooling
TRIAL_STEPS = 3  # the first, a warm-up, is not averaged
TEXT, IMAGE = "text_encoder.", "vision_encoder."
PARTS = ("network", "optimizer", "schedule", "gradients")
STATE = ("epoch", "batch", "waited", "best", "best_loss", "is_done")


class Recomputed(nn.Sequential):
    """A ResNet that keeps only the activations between its stages, and recomputes those within them."""

    def forward(self, inputs: Tensor) -> Tensor:
        parts = list(self)
        # A stage must not begin with the first ReLU, which overwrites its input.
        stages = [nn.Sequential(*parts[:STEM]), *parts[STEM:]]
        found: Tensor = checkpoint_sequential(  # type: ignore[no-untyped-call]
            stages, len(stages), inputs, use_reentrant=False
        )
        return found


class TuningRun:
    """One training run: the network, the optimizer, and the progress."""

    def __init__(
        self,
        base: Checkpoint,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        tuning: Tuning,
        device: str,
        pictures: Pictures | None = None,
    ) -> None:
        """Trains the encoders that `tuning` names, the image encoder on `pictures`."""
        self.recipe, self.seed, self.tuning, self.device = recipe, seed, tuning, device
        self.pictures = pictures
        self.train_rows, self.val_rows = (
            TokenRows.of(split, base, learned_groups(dataset)) for split in (dataset.train, dataset.val)
        )
        torch.manual_seed(seed)
        config = base.card.config
        self.network = MultimodalViralityPredictor(
            replace(
                config,
                text=config.text if tuning.text else None,
                vision=config.vision if pictures is not None else None,
            )
        )
        weights = {name: t for name, t in base.state_dict.items() if name.startswith(self.prefixes)}
        self.network.load_state_dict(weights, strict=False)  # the head is new; buffers are computed
        if device == "cpu":
            self._save_memory()
        self.network.to(device)
        self.batches = -(-len(self.train_rows) // tuning.batch_size)
        self._prepare()
        self.epoch = self.batch = self.waited = 0
        self.best, self.best_loss, self.is_done = self._encoder_state(), float("inf"), False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The name prefixes of the trained weights other than the head's."""
        trained = {TEXT: self.tuning.text, IMAGE: self.pictures is not None}
        return tuple(prefix for prefix, is_trained in trained.items() if is_trained)

    def _save_memory(self) -> None:
        """Compute activations twice instead of keeping those of every layer."""
        if self.network.text_encoder is not None:
            self.network.text_encoder.bert.encoder.saves_memory = True
        if self.network.vision_encoder is not None:
            vision = self.network.vision_encoder
            vision.feature_extractor = Recomputed(*vision.feature_extractor.children())

    def _prepare(self) -> None:
        tuning = self.tuning
        parameters = dict(self.network.named_parameters())
        encoders = [p for name, p in parameters.items() if name.startswith(self.prefixes)]
        head = [p for name, p in parameters.items() if not name.startswith(self.prefixes)]
        groups: list[dict[str, Any]] = [
            {"params": encoders, "lr": tuning.encoder_rate},
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
        state = self.network.state_dict()
        return {name: t.detach().clone() for name, t in state.items() if name.startswith(self.prefixes)}

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
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        state = {name: getattr(self, name) for name in STATE}
        partial = path.with_name(f"{path.name}.partial")
        torch.save(parts | state, partial)
        partial.replace(path)

    def estimate(self) -> str:
        """A sentence with the maximum time of the remaining epochs, from a few steps on a copy."""
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
        names = self.tuning.names
        what = f"{' and '.join(names)} encoder{'s' * (len(names) > 1)}"
        how = "a CPU with gradient checkpointing" if self.device == "cpu" else "a GPU in mixed precision"
        return (
            f"training the {what}: at most {shown} for {left:,} batches of {self.tuning.batch_size} "
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
            print(f"encoder, epoch {self.epoch}: val loss {loss:.4f}", flush=True)
            self.is_done = self.epoch == self.tuning.epochs or self.waited >= self.tuning.patience
            self.save(path)
            track({"encoder_val_loss": loss}, self.epoch)

    def _step(self, order: Tensor, scalars: Tensor, batch: int) -> None:
        # Dropout's draws depend only on the step, so that a resumed run draws the same.
        torch.manual_seed(self.seed + self.epoch * self.batches + batch)
        size = self.tuning.batch_size
        rows = order[batch * size : (batch + 1) * size].tolist()
        self.network.train()
        if self.network.vision_encoder is not None:
            self.network.vision_encoder.eval()  # a small batch has no statistics to normalise by
        loss = self._loss(self.train_rows, rows, scalars, hide=self.recipe.image_dropped)
        self.optimizer.zero_grad()
        self.gradients.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.gradients.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.tuning.max_norm)
        self.gradients.step(self.optimizer)
        self.gradients.update()
        self.schedule.step()

    @torch.no_grad()
    def _validation_loss(self, limit: int | None = None) -> float:
        """The mean loss on val with everything known and with text only; `limit` batches of each."""
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

    def _loss(self, rows: TokenRows, chosen: list[int], scalars: Tensor, hide: float = 0.0) -> Tensor:
        pixels = self._pixels(rows, chosen, hide)
        with torch.autocast(self.device, self.half, enabled=self.device != "cpu"):
            tokens = rows.tokens_of(chosen).to(self.device)
            logits, target = self.network(*tokens, pixels, scalars[chosen].to(self.device))
        outputs = torch.cat([logits, target], dim=1).float()
        is_viral, wanted, weights = (each[chosen].to(self.device) for each in rows.targets)
        return joint_loss(outputs, is_viral, wanted, weights, self.recipe)

    def _pixels(self, rows: TokenRows, chosen: list[int], hide: float) -> Tensor | None:
        """(B, 3, H, W) normalised; zeros, the neutral image, without a picture and for the share `hide`."""
        vision = self.network.vision_encoder
        if self.pictures is None or vision is None:
            return None
        pixels, known = self.pictures.of(rows.split, chosen)
        shown = torch.from_numpy(known) & (torch.rand(len(chosen)) >= hide)
        normalised = vision.normalise(torch.from_numpy(pixels).to(self.device))
        return normalised * shown.to(self.device)[:, None, None, None]
