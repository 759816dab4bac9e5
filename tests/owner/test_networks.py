"""The upstream network with some of its inputs switched off, compiled and served over HTTP."""

from pathlib import Path

import httpx
import numpy as np
import torch

from model.compile.__main__ import compile_checkpoint
from tests.owner.pipeline import SMALL, FirstPipeline, untrained
from tests.owner.test_scores import asked
from tests.owner.variants import Made, Network
from tests.support.service import ROOT, ready_service
from tests.training.fit_stats.first_csv import first_rows, write_rows
from training.fit_stats.__main__ import main as fit_stats

MISSING = {"text": "no_text_tower", "image": "no_image_tower"}
NETWORKS = {("text", "image"): {"text": False}, ("text",): {"text": False, "vision": True}}


def test_a_network_without_text_is_served(tmp_path: Path) -> None:
    """Scalars only, and scalars with images, score as their own network and say which inputs are absent."""
    training = write_rows(tmp_path / "training.csv", first_rows(120))
    pipeline = FirstPipeline(untrained(**SMALL), training, ROOT / "models" / "bert-base-uncased")
    row, failures = pipeline.rows[3], []
    scalars = torch.tensor(pipeline.scaler.transform([pipeline._columns(row)]), dtype=torch.float32)
    for absent, parts in NETWORKS.items():
        made = Made(tmp_path, Network(**parts), pipeline)
        made.owners()
        assert fit_stats([str(training), "--checkpoint", str(made.path)]) == 0
        compile_checkpoint(made.path, precision="f32", threads=1)
        with ready_service(tmp_path / "log", checkpoint=made.path, precision="f32", threads=1) as service:
            answer = httpx.post(f"{service.url}/predict", json=asked(row) | {"explain": True}).json()
            info = httpx.get(f"{service.url}/model/info").json()
        with torch.no_grad():
            expected = made.network({}, scalars)[0].item()
        reasons = {name: answer["modalities"][name].get("reason") for name in absent}
        groups = {part["group"] for part in answer["explanation"]["contributions"]}
        is_right = (
            np.isclose(answer["viral_score"], expected, atol=1e-6)
            and reasons == {name: MISSING[name] for name in absent}
            and not groups & set(absent)
            and info["modalities"] == [name for name in ("text", "image", "scalars") if name not in absent]
        )
        if not is_right:
            failures.append((absent, answer, expected, info["modalities"]))
    assert failures == []
