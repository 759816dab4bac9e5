"""The design that Miles replaces, as its owner describes it: 300-500 ms a video, one global model.

    python -m benchmarks.peers.seed PORT

Default PyTorch in float32, every text padded to 128 tokens, a blocking download and a blocking forward in an
`async def` handler, unscaled counts. The weights come from the checkpoint named by BENCH_CHECKPOINT; only the
cost matters, not the scores.
"""

import io
import os
import sys
from pathlib import Path
from typing import Any

import requests
import torch
import uvicorn
from fastapi import Body, FastAPI
from PIL import Image

import model.torchvision_compat  # noqa: F401  must precede every import of torchvision
from benchmarks.peers.same_engine import answer
from model.checkpoint.store import Checkpoint, read_checkpoint
from preprocessing.text import BERT_VOCABULARY

from torchvision import transforms  # isort: skip
from transformers import BertTokenizerFast  # type: ignore[attr-defined]  # isort: skip

CHECKPOINT = "BENCH_CHECKPOINT"
LENGTH = 128


def create_app(checkpoint: Checkpoint) -> FastAPI:
    """The app around one global model."""
    app = FastAPI()
    model = checkpoint.build_model().eval()
    vision = checkpoint.card.config.vision
    assert vision is not None, "the seed's videos have thumbnails"
    tokenizer = BertTokenizerFast(vocab=str(BERT_VOCABULARY))
    transform = transforms.Compose(
        [
            transforms.Resize((vision.height, vision.width)),
            transforms.ToTensor(),
            transforms.Normalize(vision.mean, vision.std),
        ]
    )

    @app.post("/predict")
    async def predict(request: dict[str, Any] = Body()) -> dict[str, float]:  # noqa: B008  FastAPI's own way
        words = tokenizer(
            f"{request['title']} {request['description']}",
            padding="max_length",
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        download = requests.get(request["thumbnail_url"], timeout=10)  # noqa: ASYNC210  the seed's flaw
        image = Image.open(io.BytesIO(download.content)).convert("RGB")
        pixels = transform(image).unsqueeze(0)  # (1, 3, 224, 224)
        counts = [float(request[f"{name}_count"]) for name in ("view", "like", "comment")]
        scalars = torch.tensor([counts + [0.0] * (checkpoint.card.config.scalars - len(counts))])  # (1, 18)
        with torch.no_grad():
            logits, velocity = model(
                words["input_ids"], words["token_type_ids"], words["attention_mask"], pixels, scalars
            )
        return answer(torch.softmax(logits, dim=1)[0, 1].item(), velocity.item())

    return app


def main(port: int) -> None:
    app = create_app(read_checkpoint(Path(os.environ[CHECKPOINT])))
    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
