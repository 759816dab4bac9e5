"""The reference engine: PyTorch on a CPU or a GPU.

A sum in float32 depends on the order of its terms, and so on the padding of a text and on the rest of its
batch. At the precision `exact` each video is computed by itself and padded to the checkpoint's tokens, as a
training with `padding="max_length"` evaluates a row: the same terms in the same order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint.store import Checkpoint, CheckpointError
from model.engine import Pixels, Scores, TokenIds, Vectors


class DeviceError(CheckpointError):
    """The requested device is not available."""


class TorchEngine:
    """PyTorch, padding a batch of texts to its longest; towers in f32, bf16, or `exact`."""

    name = "torch"
    scores_inline = False
    picture_batches: Sequence[int] = ()
    concurrent = False  # each calling thread would get its own pool of spinning OpenMP threads
    at_once = 1

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "cpu",
        threads: int | None = None,
        precision: str = "f32",
    ) -> None:
        """Raises `DeviceError` without the device.

        `threads` is the number of threads per forward. OpenMP keeps it per calling thread: build the engine
        in the thread that will call it. `precision` is that of the towers; the fusion is always f32.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise DeviceError(
                "MILES_DEVICE=cuda: torch finds no GPU. Install a CUDA build of torch (TORCH_INDEX names "
                "its index, see DEPLOYMENT_GUIDE.md), or set MILES_DEVICE=cpu."
            )
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self.device, self.precision = device, precision
        self._padded = checkpoint.card.max_tokens if precision == "exact" else None
        self._velocity = checkpoint.card.velocity
        self._temperature = checkpoint.card.temperature or 1.0
        self._calibration = checkpoint.card.calibration()
        self._model = checkpoint.build_model().to(device)
        self.text_width = checkpoint.card.config.text_dim
        mean = checkpoint.card.titles.mean_vector
        self.mean_text = None if mean is None else np.array(mean, dtype=np.float32)
        with self._towers():
            # A missing image is zeros after normalising, the ImageNet mean, which no uint8 pixels give.
            self.neutral_image: Vectors = _numpy(self._model.encode_image(None, 1))[0]

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text_dim); without a text tower, (B, 0)."""
        if self._padded and len(input_ids) > 1:
            one_by_one = zip(input_ids, token_type_ids, strict=True)
            return np.concatenate([self.encode_text([ids], [types]) for ids, types in one_by_one])
        longest = self._padded or max(len(ids) for ids in input_ids)
        ids = np.zeros((len(input_ids), longest), dtype=np.int64)  # (B, T), [PAD] is 0
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, (tokens, kinds) in enumerate(zip(input_ids, token_type_ids, strict=True)):
            ids[row, : len(tokens)], types[row, : len(tokens)], mask[row, : len(tokens)] = tokens, kinds, 1
        with self._towers():
            pooled = self._model.encode_text(*(self._tensor(array) for array in (ids, types, mask)))
            return _numpy(pooled)  # (B, 768)

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim); a checkpoint without an image tower gives (B, 0)."""
        encoder = self._model.vision_encoder
        if encoder is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        if self._padded and len(pixels) > 1:
            return np.concatenate([self.encode_image(each[None]) for each in pixels])
        with self._towers():
            return _numpy(encoder(encoder.normalise(self._tensor(pixels))))  # (B, 2048)

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
        if self._padded and len(text) > 1:
            one_by_one = zip(text[:, None], image[:, None], scalars[:, None], strict=True)
            found = [self.score(*each) for each in one_by_one]
            return Scores(
                viral=np.concatenate([each.viral for each in found]),
                velocity=np.concatenate([each.velocity for each in found]),
            )
        with torch.inference_mode():
            logits, target = self._model.score(*(self._tensor(array) for array in (text, image, scalars)))
            both = logits.double().cpu()
        if self._calibration is None:
            viral = torch.softmax(both / self._temperature, dim=1)[:, 1].numpy()
        else:
            viral = self._calibration.apply((both[:, 1] - both[:, 0]).numpy(), scalars)
        return Scores(viral=viral, velocity=self._velocity.invert(target[:, 0].double().cpu().numpy()))

    @contextmanager
    def _towers(self) -> Iterator[None]:
        """Without gradients, in the precision of the towers."""
        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        # Cached vectors and decoded images may be read-only, about which torch warns.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)


def _numpy(tensor: torch.Tensor) -> Vectors:
    vectors: Vectors = tensor.float().cpu().numpy()
    return vectors
