"""Makes torchvision importable with a torch that its binary was not built for.

PyPI's torchvision is linked against CUDA. With a CPU-only torch its compiled operators do not load, and
importing it fails because it registers shapes for undeclared operators. Declaring the two schemas first is
enough, since ResNet and the transforms use none of these operators. Import this module before anything that
imports torchvision, as transformers does.
"""

import importlib.machinery
import importlib.util

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _binary_loads() -> bool:
    """Whether torchvision's compiled operators load with this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    extension = importlib.machinery.PathFinder.find_spec("_C", list(spec.submodule_search_locations))
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def declare_missing_operators() -> None:
    """Declare `nms` and `qnms` where torchvision's binary cannot; safe to call again."""
    if _binary_loads():
        return
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", _SCHEMA)


declare_missing_operators()
