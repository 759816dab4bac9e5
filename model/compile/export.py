"""The network as three OpenVINO graphs in float32, for any number of rows and tokens.

    text     input_ids, token_type_ids, positions, segments (R, L) int64, firsts (B,) int64 -> (B, text_dim)
    image    pixels (B, H, W, 3) uint8, normalised inside           -> (B, image_dim)
    fusion   text, image, scalars (B, *) float32 -> P(viral) (B,), transformed velocity (B,)

The R rows of L tokens hold B texts (`model.compiled.engine`). A network without text or images has no such
graph, and its fusion no such input. The inverse transform to views per day needs float64 and is not in a
graph.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import openvino as ov
import torch
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from model.bert import Layer
from model.compile.quantise import without_telemetry
from model.compiled.engine import TEXT_INPUTS, packed_rows
from model.network import MultimodalViralityPredictor

ROWS, TOKENS = 2, 8  # of the traced example; the graphs take any size


class TextTower(nn.Module):
    """The text encoder over texts that share rows.

    BERT's pooler reads only the first token, so the last layer is computed for that; a mean needs all tokens.
    """

    def __init__(self, network: MultimodalViralityPredictor) -> None:
        super().__init__()
        assert network.text_encoder is not None, "a network without text has no text tower"
        bert = network.text_encoder.bert
        is_mean = network.text_encoder.config.pooling == "mean"
        self.embeddings = bert.embeddings
        self.layers = bert.encoder.layer if is_mean else bert.encoder.layer[:-1]
        last = bert.encoder.layer[-1]
        assert isinstance(last, Layer), "an encoder has layers"
        self.last = None if is_mean else LastLayer(last)
        self.pooler = MeanPooler() if is_mean else bert.pooler

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, positions: Tensor, segments: Tensor, firsts: Tensor
    ) -> Tensor:
        """(R, L) tokens of B texts, the first of each at `firsts` (B,) of the R * L, to (B, text_dim)."""
        of_one_text = (segments.unsqueeze(2) == segments.unsqueeze(1)).unsqueeze(1)  # (R, 1, L, L)
        hidden = self.embeddings(input_ids, token_type_ids, positions)  # (R, L, text_dim)
        for layer in self.layers:
            hidden = layer(hidden, of_one_text)
        segments, hidden = segments.flatten(), hidden.flatten(0, 1)  # (N,), (N, text_dim)
        own = segments.index_select(0, firsts).unsqueeze(1) == segments  # (B, N)
        pooled: Tensor
        if self.last is None:
            pooled = self.pooler(hidden, own)
        else:
            pooled = self.pooler(self.last(hidden, own, firsts).unsqueeze(1))
        return pooled


class LastLayer(nn.Module):
    """A layer of BERT for the first token of each text; of other tokens it needs only the keys and values."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor, own: Tensor, firsts: Tensor) -> Tensor:
        """(N, D) tokens, those of each text (B, N), the first of each (B,), to (B, D)."""
        first = hidden.index_select(0, firsts)  # (B, D)
        attention = self.layer.attention
        query = self._heads(attention.self.query(first))  # (1, heads, B, D / heads)
        key, value = self._heads(attention.self.key(hidden)), self._heads(attention.self.value(hidden))
        seen = nn.functional.scaled_dot_product_attention(query, key, value, own[None, None])
        attended = attention.output(seen[0].transpose(0, 1).flatten(1), first)  # (B, D)
        last: Tensor = self.layer.output(self.layer.intermediate(attended), attended)
        return last

    def _heads(self, projected: Tensor) -> Tensor:
        size = self.layer.attention.self.attention_head_size
        return projected.view(projected.shape[0], -1, size).transpose(0, 1).unsqueeze(0)


class MeanPooler(nn.Module):
    """The mean of each text's tokens; a module, so that the quantiser can exclude it by name."""

    def forward(self, hidden: Tensor, own: Tensor) -> Tensor:
        """(N, D) tokens, those of each text (B, N), to (B, D)."""
        weights = own.to(hidden.dtype)
        return weights @ hidden / weights.sum(dim=1, keepdim=True)


class ImageTower(nn.Module):
    """The image encoder with normalisation."""

    def __init__(self, network: MultimodalViralityPredictor) -> None:
        super().__init__()
        assert network.vision_encoder is not None, "a network without images has no image tower"
        self.encoder = network.vision_encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, image_dim)."""
        encoded: Tensor = self.encoder(self.encoder.normalise(pixels))
        return encoded


class Fusion(nn.Module):
    """Fusion, both heads, and the temperature where one calibrates every row."""

    def __init__(self, network: MultimodalViralityPredictor, temperature: float | None) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, *vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The towers' vectors and standardised scalars to P(viral) (B,) and transformed velocity (B,).

        Without a temperature the first is the difference of the logits, which `Calibration` takes.
        """
        inputs = dict(zip(self.network.config.modalities, vectors, strict=True))
        absent = vectors[-1][:, :0]
        text, image = inputs.get("text", absent), inputs.get("image", absent)
        logits, target = self.network.score(text, image, inputs["scalars"])
        if self.temperature is None:
            return logits[:, 1] - logits[:, 0], target[:, 0]
        return torch.softmax(logits / self.temperature, dim=1)[:, 1], target[:, 0]


def export_towers(
    network: MultimodalViralityPredictor, temperature: float | None, directory: Path
) -> list[str]:
    """Write a graph per tower into `directory`; returns the towers' names in order.

    `temperature` None is for a card with patterns, whose calibration follows the graph.
    """
    network.requires_grad_(False).eval()
    written = []
    for tower, graph in _graphs(network, temperature):
        # The default would round the weights to float16.
        ov.save_model(graph, directory / f"{tower}.xml", compress_to_fp16=False)
        written.append(tower)
    return written


def _graphs(
    network: MultimodalViralityPredictor, temperature: float | None
) -> Iterator[tuple[str, ov.Model]]:
    config = network.config
    if config.text is not None:
        each = torch.tensor([[0] * TOKENS] * ROWS)
        rows = packed_rows(each.tolist(), each.tolist(), [[text] for text in range(ROWS)], TOKENS, ROWS)
        text = {name: ([-1] * rows[name].ndim, ov.Type.i64) for name in TEXT_INPUTS}
        tokens = tuple(torch.from_numpy(rows[name]) for name in TEXT_INPUTS)
        yield "text", _convert(TextTower(network), tokens, text, ["text"])
    if config.vision is not None:
        height, width = config.vision.height, config.vision.width
        pixels = torch.zeros(ROWS, height, width, 3, dtype=torch.uint8)
        image = {"pixels": ([-1, height, width, 3], ov.Type.u8)}
        yield "image", _convert(ImageTower(network), (pixels,), image, ["image"])
    inputs = {name: ([-1, width], ov.Type.f32) for name, width in config.widths.items()}
    example = tuple(torch.zeros(ROWS, width) for width in config.widths.values())
    yield "fusion", _convert(Fusion(network, temperature), example, inputs, ["viral", "velocity"])


def _convert(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: dict[str, tuple[list[int], ov.Type]],
    outputs: list[str],
) -> ov.Model:
    # Tracing warns that Python values become constants; tests run the graphs at several shapes. It is
    # not traced twice and compared: that takes most of the time, and the graphs are compared to the network.
    with warnings.catch_warnings(action="ignore"), without_telemetry():
        traced = TorchScriptPythonDecoder(
            module.eval(), example_input=example, trace_kwargs={"check_trace": False}
        )
        graph = ov.convert_model(traced, example_input=example, input=[(*spec,) for spec in inputs.values()])
    for port, name in zip(graph.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    return graph
