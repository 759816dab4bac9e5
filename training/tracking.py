"""Records a training run in MLflow, where `--mlflow` names a tracking server or a folder.

Needs the packages of requirements/mlflow.txt; without the option none of them is imported.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from training.data.table import DatasetError

EXPERIMENT = "miles"
Track = Callable[[Mapping[str, float], int], None]
"""Takes figures by name, and their step."""


def ignore(_: Mapping[str, float], __: int) -> None:
    """Record nothing."""


@contextmanager
def tracked(where: str | None, parameters: Mapping[str, Any]) -> Iterator[Track]:
    """A run with `parameters` at `where`, a folder or a server's URI; None records nothing.

    A run that ends with an exception is marked as failed. Raises `DatasetError` without the packages, or for
    a server that does not answer.
    """
    if where is None:
        yield ignore
        return
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow asks for consent to folders
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as exc:
        raise DatasetError(
            "--mlflow needs mlflow-skinny, which is not installed; run "
            "`.venv/bin/pip install -r requirements/mlflow.txt`"
        ) from exc
    try:
        mlflow.set_tracking_uri(where)
        mlflow.set_experiment(EXPERIMENT)
        run = mlflow.start_run()
        mlflow.log_params({name: str(value) for name, value in parameters.items()})
    except (MlflowException, OSError) as exc:
        raise DatasetError(f"--mlflow {where}: cannot be written to ({exc}); check the address") from exc

    def track(figures: Mapping[str, float], step: int) -> None:
        mlflow.log_metrics(_finite(figures), step=step)

    with run:
        yield track


def _finite(figures: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among `figures`; MLflow accepts nothing else."""
    return {
        name: float(value)
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
