"""The training loop: rows in, trained members out; knows neither files nor encoders."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from training.members import Members

# How much each kind of request counts when the best epoch is chosen: most say when the video went up.
WITH_AGE_SHARE = 0.7


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a fit besides the rows and the seed; the values were chosen on val."""

    text_dims: int = 24
    members: int = 8
    epochs: int = 22
    patience: int = 5
    batch_size: int = 512
    learning_rate: float = 8e-3
    weight_decay: float = 0.1
    scalar_noise: float = 0.03
    # As wide as the text itself: a tower in int8 adds noise of its own, and this head hardly answers to any.
    # A weaker .6 is as good on val and moves twice as far when the tower is quantised.
    text_noise: float = 1.0
    age_dropped: float = 0.3
    regression_share: float = 1.0
    averaging: float = 0.998
    # A row counts half when it is this much older than the newest: the trending list changes.
    half_life_days: float = 45.0


@dataclass(frozen=True)
class Rows:
    """N rows as the members see them: (N, D) inputs with the age and without it, targets, weights (N,)."""

    inputs: Tensor
    ageless: Tensor
    is_viral: Tensor  # int64
    target: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Batch:
    """B rows for each of M members: inputs (M, B, D), the others (M, B)."""

    inputs: Tensor
    is_viral: Tensor
    target: Tensor
    weights: Tensor


def joint_loss(
    outputs: Tensor, is_viral: Tensor, target: Tensor, weights: Tensor, regression_share: float
) -> Tensor:
    """Cross-entropy and Huber of (..., 3) outputs, the weighted mean over all leading dimensions."""
    entropy = functional.cross_entropy(outputs[..., :2].flatten(0, -2), is_viral.flatten(), reduction="none")
    huber = functional.huber_loss(outputs[..., 2], target, reduction="none").flatten()
    flat = weights.flatten()
    return (flat * (entropy + regression_share * huber)).sum() / flat.sum()


def train_members(members: Members, train: Rows, val: Rows, recipe: Recipe, seed: int) -> Members:
    """`members` trained on `train`: the running average of their weights at the best epoch on `val`."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout draws from the global generator
    steps = recipe.epochs * max(len(train) // recipe.batch_size, 1)
    optimizer = _optimizer(members, recipe)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps + 1)
    average, best, best_loss, step, waited = copy.deepcopy(members).eval(), members, np.inf, 0, 0
    for epoch in range(1, recipe.epochs + 1):
        for batch in _batches(train, len(members.first), recipe, generator):
            outputs = members.train()(batch.inputs)
            loss = joint_loss(outputs, batch.is_viral, batch.target, batch.weights, recipe.regression_share)
            optimizer.zero_grad()
            # The mean over members would shrink each one's gradient; the sum leaves them independent.
            (loss * len(members.first)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            _follow(average, members, min(recipe.averaging, (1 + step) / (10 + step)))
        with_age, without_age = validation_losses(average, val, recipe)
        loss_now = WITH_AGE_SHARE * with_age + (1 - WITH_AGE_SHARE) * without_age
        print(f"epoch {epoch}: val loss {with_age:.4f} with age, {without_age:.4f} without", flush=True)
        waited += 1
        if loss_now < best_loss:
            best, best_loss, waited = copy.deepcopy(average), loss_now, 0
        if waited >= recipe.patience:
            break
    return best


@torch.no_grad()
def validation_losses(members: Members, val: Rows, recipe: Recipe) -> tuple[float, float]:
    """The joint loss of the members' mean on `val`, with the age and without it."""
    losses = [
        joint_loss(
            members(inputs).mean(dim=0), val.is_viral, val.target, val.weights, recipe.regression_share
        )
        for inputs in (val.inputs, val.ageless)
    ]
    return float(losses[0]), float(losses[1])


def _optimizer(members: Members, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [members.first, members.second, members.last]
    biases = [members.first_bias, members.second_bias, members.last_bias]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def _batches(rows: Rows, members: int, recipe: Recipe, generator: torch.Generator) -> Iterator[Batch]:
    """One epoch: every member sees the rows in an order of its own, with ages dropped and noise added."""
    size = min(recipe.batch_size, len(rows))
    orders = torch.stack([torch.randperm(len(rows), generator=generator) for _ in range(members)])
    dims = rows.inputs.shape[1]
    noise = torch.full((dims,), recipe.scalar_noise)
    noise[: recipe.text_dims] = recipe.text_noise
    for start in range(0, len(rows) - size + 1, size):
        chosen = orders[:, start : start + size]  # (M, B)
        dropped = torch.rand(chosen.shape, generator=generator) < recipe.age_dropped
        inputs = torch.where(dropped[..., None], rows.ageless[chosen], rows.inputs[chosen])  # (M, B, D)
        inputs = inputs + torch.randn(inputs.shape, generator=generator) * noise
        yield Batch(inputs, rows.is_viral[chosen], rows.target[chosen], rows.weights[chosen])


@torch.no_grad()
def _follow(average: Members, members: Members, keep: float) -> None:
    for mean, current in zip(average.parameters(), members.parameters(), strict=True):
        mean.mul_(keep).add_(current, alpha=1 - keep)
