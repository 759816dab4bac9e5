"""The fusion's graph, taken apart, so that a tower's vector is multiplied once.

The first layer holds nearly all of the fusion's weights (2.9 of 3.2 million), and reading them takes longer
than the rest of a known video's score. It is linear in the towers' outputs:

    first layer = W_text text + W_image image + W_scalars scalars + bias

So each tower is followed by its own product, which is cached instead of the tower's output. A tower whose
weights are all zero has none: nothing reads its output.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import openvino as ov
import openvino.opset13 as opset


@dataclass(frozen=True)
class FusionParts:
    """Graphs in float32."""

    products: dict[str, ov.Model]
    """Per tower with non-zero weights: its output (B, dim) to its part of the first layer, (B, width)."""
    rest: ov.Model
    """The products (B, width) and scalars (B, n) to viral, velocity (B,)."""


def take_apart(fusion: ov.Model, dims: Mapping[str, int]) -> FusionParts:
    """The parts of a fusion's graph, whose first layer reads `dims` numbers of each modality, in order.

    `fusion` is changed.
    """
    product = next(node for node in fusion.get_ordered_ops() if node.get_type_name() == "MatMul")
    weights = product.input_value(1).get_node().get_data()  # (width, sum of dims)
    products, sums, start = {}, [], 0
    for name, dim in dims.items():
        columns = weights[:, start : start + dim].copy()
        start += dim
        if name == "scalars" or not columns.any():
            continue
        vectors = _input(name, dim)
        products[name] = ov.Model([opset.matmul(vectors, columns, False, True)], [vectors], name)
        sums.append(_input(name, len(weights)))
    scalars = fusion.input("scalars").get_node()
    total = opset.matmul(scalars, columns, False, True)
    for part in sums:
        total = opset.add(total, part)
    product.output(0).replace(total.output(0))
    rest = ov.Model(fusion.outputs, [*sums, scalars], "fusion")
    return FusionParts(products, rest)


def _input(name: str, width: int) -> ov.Node:
    vectors = opset.parameter([-1, width], ov.Type.f32, name)
    vectors.output(0).get_tensor().set_names({name})
    return vectors
