"""The reference engine: PyTorch, in float32 on a CPU or on a GPU; what every other engine is measured by."""

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import Checkpoint
from model.engine import Pixels, Scores, TokenIds, Vectors


class TorchEngine:
    """The reference: PyTorch in float32, dynamic length, no padding beyond a batch's longest text."""

    name = "torch"
    precision = "f32"

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", threads: int | None = None) -> None:
        """Raises `CheckpointError` when the checkpoint lacks the statistics that scoring needs.

        `threads` is what one forward may use; build the engine in the thread that will call it, since
        OpenMP keeps the number per thread.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint.require_statistics()
        assert checkpoint.velocity is not None, "require_statistics has seen to it"
        self.device = device
        self._velocity = checkpoint.velocity
        self._temperature = checkpoint.temperature or 1.0
        self._model = checkpoint.build_model().to(device)
        with torch.inference_mode():
            # The network's input for "no image" is zeros, the ImageNet mean, which no uint8 pixel is.
            self.neutral_image: Vectors = self._model.encode_image(None, 1)[0].cpu().numpy()

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text_dim)."""
        longest = max(len(ids) for ids in input_ids)
        ids = np.zeros((len(input_ids), longest), dtype=np.int64)  # (B, T), [PAD] is 0
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, (tokens, kinds) in enumerate(zip(input_ids, token_type_ids, strict=True)):
            ids[row, : len(tokens)], types[row, : len(tokens)], mask[row, : len(tokens)] = tokens, kinds, 1
        with torch.inference_mode():
            pooled = self._model.text_encoder(*(self._tensor(array) for array in (ids, types, mask)))
            return _numpy(pooled)  # (B, 768)

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim); a checkpoint without an image tower gives (B, 0)."""
        encoder = self._model.vision_encoder
        if encoder is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        with torch.inference_mode():
            return _numpy(encoder(encoder.normalise(self._tensor(pixels))))  # (B, 2048)

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
        with torch.inference_mode():
            logits, target = self._model.score(*(self._tensor(array) for array in (text, image, scalars)))
            viral = torch.softmax(logits.double() / self._temperature, dim=1)[:, 1]
        return Scores(
            viral=viral.cpu().numpy(), velocity=self._velocity.invert(target[:, 0].double().cpu().numpy())
        )

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        # Cached vectors and decoded images may be read-only, which torch warns of.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)


def _numpy(tensor: torch.Tensor) -> Vectors:
    vectors: Vectors = tensor.float().cpu().numpy()
    return vectors
