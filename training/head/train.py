"""The training loop: from rows to a trained ensemble, without files or encoders."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.outputs import KNOWN
from training.head.ensemble import Ensemble
from training.recipe import CLASS_WEIGHTS, Recipe

# An epoch has at least this many batches: a few hundred rows in one batch would be a single step.
MIN_BATCHES = 32
MIN_BATCH_SIZE = 32


@dataclass(frozen=True)
class Rows:
    """N rows: (N, D) inputs, (N,) targets and weights.

    `hidden` has the inputs without each group that a request may leave out, `touched` which of the D inputs
    change without it, and `noise` the deviation of the noise that training adds to each. `known` says which
    rows know each group of `KNOWN`, and `patterns` which groups requests of each pattern hide.
    """

    inputs: Tensor
    hidden: dict[str, Tensor]
    touched: dict[str, Tensor]  # bool (D,)
    noise: Tensor  # (D,)
    is_viral: Tensor  # int64
    target: Tensor
    weights: Tensor
    known: dict[str, Tensor]  # bool (N,)
    patterns: dict[str, tuple[str, ...]]
    video_ids: list[str]

    def __len__(self) -> int:
        return len(self.inputs)

    def without(self, groups: tuple[str, ...]) -> Tensor:
        """(N, D) inputs of requests that leave `groups` out."""
        inputs = self.inputs
        for name in groups:
            inputs = torch.where(self.touched[name], self.hidden[name], inputs)
        return inputs


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
    recipe: Recipe,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy and Huber of (..., 3) outputs, the weighted mean over all leading dimensions."""
    entropy = functional.cross_entropy(
        outputs[..., :2].flatten(0, -2), is_viral.flatten(), weight=class_weights, reduction="none"
    )
    delta = recipe.huber_delta
    # Divided by delta, so that its slope beyond delta is 1 for every delta.
    huber = functional.huber_loss(outputs[..., 2], target, reduction="none", delta=delta).flatten() / delta
    flat = weights.flatten()
    return (flat * (entropy + recipe.regression_share * huber)).sum() / flat.sum()


def train_ensemble(
    ensemble: Ensemble, train: Rows, val: Rows, recipe: Recipe, seed: int
) -> tuple[Ensemble, float]:
    """Train on `train`; return the weights' running average at the best epoch on `val`, and its loss."""
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
            loss = joint_loss(outputs, batch.is_viral, batch.target, batch.weights, recipe, classes)
            optimizer.zero_grad()
            # The mean over members would shrink each one's gradient; the sum leaves them independent.
            (loss * len(ensemble.first)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            _follow(average, ensemble, min(recipe.averaging, (1 + step) / (10 + step)))
        losses = validation_losses(average, val, recipe)
        loss_now = sum(losses.values()) / len(losses)
        print(f"epoch {epoch}: {_loss_text(losses)}", flush=True)
        waited += 1
        if loss_now < best_loss:
            best, best_loss, waited = copy.deepcopy(average), loss_now, 0
        if waited >= recipe.patience:
            break
    return best, best_loss


@torch.no_grad()
def validation_losses(ensemble: Ensemble, val: Rows, recipe: Recipe) -> dict[str, float]:
    """The joint loss of the members' mean on `val`, by pattern."""
    return {
        name: float(
            joint_loss(
                ensemble(val.without(groups)).mean(dim=0),
                *(val.is_viral, val.target, val.weights, recipe),
            )
        )
        for name, groups in val.patterns.items()
    }


def _loss_text(losses: dict[str, float]) -> str:
    names = sorted(losses, key=losses.__getitem__)
    return f"val loss {sum(losses.values()) / len(losses):.4f}; " + ", ".join(
        f"{losses[name]:.4f} with {name}" for name in (names[0], names[-1])
    )


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
        for name, hides in draw_hidden(tuple(rows.hidden), chosen.shape, recipe, generator).items():
            inputs = torch.where(hides[..., None] & rows.touched[name], rows.hidden[name][chosen], inputs)
        inputs = inputs + torch.randn(inputs.shape, generator=generator) * rows.noise
        yield Batch(inputs, rows.is_viral[chosen], rows.target[chosen], rows.weights[chosen])


def draw_hidden(
    groups: tuple[str, ...], shape: torch.Size, recipe: Recipe, generator: torch.Generator
) -> dict[str, Tensor]:
    """Which rows hide each group, bools of `shape`."""
    draw = torch.rand(shape, generator=generator)
    complete, title_only = draw < recipe.complete, draw >= 1 - recipe.title_only
    hides = {}
    for name in groups:
        at_random = torch.rand(shape, generator=generator) < recipe.dropped(name)
        hides[name] = ~complete & (at_random | title_only) if name in KNOWN else at_random
    return hides


@torch.no_grad()
def _follow(average: Ensemble, ensemble: Ensemble, keep: float) -> None:
    for mean, current in zip(average.parameters(), ensemble.parameters(), strict=True):
        mean.mul_(keep).add_(current, alpha=1 - keep)
