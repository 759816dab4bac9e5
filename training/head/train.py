"""The training loop: from rows to a trained ensemble, without files or encoders."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.head.ensemble import Ensemble

# The weight of incomplete requests when the best epoch is chosen: most requests have `published_at`.
MISSING_SHARES = {"age": 0.3, "image": 0.15, "description": 0.15}
CLASS_WEIGHTS = ("none", "balanced")
# An epoch has at least this many batches: a few hundred rows in one batch would be a single step.
MIN_BATCHES = 32
MIN_BATCH_SIZE = 32


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a fit; the defaults were chosen on val."""

    text_dims: int = 24
    members: int = 8
    epochs: int = 22
    patience: int = 5
    batch_size: int = 512
    learning_rate: float = 8e-3
    weight_decay: float = 0.1
    scalar_noise: float = 0.03
    # As large as the text coordinates' deviation: the head becomes robust to an int8 encoder's noise.
    # With .6 it is as good on val, but its scores change twice as much when the encoder is quantised.
    text_noise: float = 1.0
    age_dropped: float = 0.3
    description_dropped: float = 0.3
    image_dims: int = 24
    image_noise: float = 0.3
    image_dropped: float = 0.3
    class_weights: str = "none"
    """`balanced`: viral rows weigh as much as all others together; the calibration reverts the shift."""
    regression_share: float = 1.0
    averaging: float = 0.998
    # A row this much older than the newest weighs half as much: the trending list changes. 0: all the same.
    half_life_days: float = 45.0

    def dropped(self, name: str) -> float:
        """The share of training rows whose age, image or description is dropped."""
        share: float = getattr(self, f"{name}_dropped")
        return share


@dataclass(frozen=True)
class Rows:
    """N rows: (N, D) inputs, (N,) targets and weights.

    `missing` has the inputs without the age, the image or the description, `touched` which of the D inputs
    that changes, and `noise` the deviation of the noise that training adds to each.
    """

    inputs: Tensor
    missing: dict[str, Tensor]
    touched: dict[str, Tensor]  # bool (D,)
    noise: Tensor  # (D,)
    is_viral: Tensor  # int64
    target: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Batch:
    """B rows for each of M members: inputs (M, B, D), all else (M, B)."""

    inputs: Tensor
    is_viral: Tensor
    target: Tensor
    weights: Tensor


def joint_loss(
    outputs: Tensor,
    is_viral: Tensor,
    target: Tensor,
    weights: Tensor,
    regression_share: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy and Huber of (..., 3) outputs, the weighted mean over all leading dimensions."""
    entropy = functional.cross_entropy(
        outputs[..., :2].flatten(0, -2), is_viral.flatten(), weight=class_weights, reduction="none"
    )
    huber = functional.huber_loss(outputs[..., 2], target, reduction="none").flatten()
    flat = weights.flatten()
    return (flat * (entropy + regression_share * huber)).sum() / flat.sum()


def train_ensemble(ensemble: Ensemble, train: Rows, val: Rows, recipe: Recipe, seed: int) -> Ensemble:
    """Train on `train`; returns the running average of the weights at the best epoch on `val`."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout draws from the global generator
    steps = recipe.epochs * max(len(train) // batch_size(len(train), recipe), 1)
    classes = class_weights(train, recipe)
    optimizer = _optimizer(ensemble, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps + 1)
    average, best, best_loss, step, waited = copy.deepcopy(ensemble).eval(), ensemble, np.inf, 0, 0
    for epoch in range(1, recipe.epochs + 1):
        for batch in _batches(train, len(ensemble.first), recipe, generator):
            outputs = ensemble.train()(batch.inputs)
            loss = joint_loss(
                outputs, batch.is_viral, batch.target, batch.weights, recipe.regression_share, classes
            )
            optimizer.zero_grad()
            # The mean over members would shrink each one's gradient; the sum leaves them independent.
            (loss * len(ensemble.first)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            _follow(average, ensemble, min(recipe.averaging, (1 + step) / (10 + step)))
        losses = validation_losses(average, val, recipe)
        loss_now = _chosen_by(losses)
        print(f"epoch {epoch}: {_loss_text(losses)}", flush=True)
        waited += 1
        if loss_now < best_loss:
            best, best_loss, waited = copy.deepcopy(average), loss_now, 0
        if waited >= recipe.patience:
            break
    return best


@torch.no_grad()
def validation_losses(ensemble: Ensemble, val: Rows, recipe: Recipe) -> dict[str, float]:
    """The joint loss of the members' mean on `val`: with all inputs (""), and without each droppable one."""
    return {
        name: float(
            joint_loss(
                ensemble(inputs).mean(dim=0), val.is_viral, val.target, val.weights, recipe.regression_share
            )
        )
        for name, inputs in {"": val.inputs, **val.missing}.items()
    }


def _chosen_by(losses: dict[str, float]) -> float:
    shares = {name: MISSING_SHARES[name] for name in losses if name}
    whole = (1 - sum(shares.values())) * losses[""]
    return whole + sum(share * losses[name] for name, share in shares.items())


def _loss_text(losses: dict[str, float]) -> str:
    without = ", ".join(f"{loss:.4f} without {name}" for name, loss in losses.items() if name)
    return f"val loss {losses['']:.4f}" + (f", {without}" if without else "")


def batch_size(rows: int, recipe: Recipe) -> int:
    """The recipe's batch size, or a smaller one for few rows."""
    return min(recipe.batch_size, max(rows // MIN_BATCHES, MIN_BATCH_SIZE), rows)


def class_weights(train: Rows, recipe: Recipe) -> Tensor | None:
    """The weights of the two classes, not viral and viral, with mean 1; None for equal weights."""
    assert recipe.class_weights in CLASS_WEIGHTS, f"class weights are one of {CLASS_WEIGHTS}"
    if recipe.class_weights == "none":
        return None
    viral = float((train.weights * train.is_viral).sum() / train.weights.sum())
    return torch.tensor([0.5 / (1 - viral), 0.5 / viral])


def _optimizer(ensemble: Ensemble, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [ensemble.first, ensemble.second, ensemble.last]
    biases = [ensemble.first_bias, ensemble.second_bias, ensemble.last_bias]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _batches(rows: Rows, members: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: each member sees the rows in a different order, with parts dropped and noise added."""
    size = batch_size(len(rows), recipe)
    orders = torch.stack([torch.randperm(len(rows), generator=generator) for _ in range(members)])
    for start in range(0, len(rows) - size + 1, size):
        chosen = orders[:, start : start + size]  # (M, B)
        inputs = rows.inputs[chosen]  # (M, B, D)
        for name, without in rows.missing.items():
            dropped = torch.rand(chosen.shape, generator=generator) < recipe.dropped(name)  # (M, B)
            inputs = torch.where(dropped[..., None] & rows.touched[name], without[chosen], inputs)
        inputs = inputs + torch.randn(inputs.shape, generator=generator) * rows.noise
        yield Batch(inputs, rows.is_viral[chosen], rows.target[chosen], rows.weights[chosen])


@torch.no_grad()
def _follow(average: Ensemble, ensemble: Ensemble, keep: float) -> None:
    for mean, current in zip(average.parameters(), ensemble.parameters(), strict=True):
        mean.mul_(keep).add_(current, alpha=1 - keep)
