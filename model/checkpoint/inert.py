"""Reads a pickle without running any of its code. Imports no torch.

A pickle names the functions and classes that rebuild its objects. None is looked up: each becomes an `Inert`
record of its name, arguments and state. `plain` turns the records whose meaning is known (NumPy's arrays,
paths, dates, namespaces, a module, ...) into plain values.
"""

import datetime
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

MAX_DEPTH = 100
# A file may name one list many times, which `plain` copies each time.
MAX_VALUES = 2_000_000
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "builtins.dict")
_SETS = ("builtins.set", "builtins.frozenset")
_DATES = {f"datetime.{kind.__name__}": kind for kind in (datetime.datetime, datetime.date, datetime.time)} | {
    "datetime.timedelta": datetime.timedelta
}
_NUMPY = ("numpy.core.multiarray.", "numpy._core.multiarray.", "numpy.core.numeric.", "numpy._core.numeric.")


class Inert:
    """What a file says about an object: the name of its class or function, its arguments, state and items."""

    origin = ""
    dump_patches = False  # torch's old format asks a pickled module's class for this

    def __new__(cls, *arguments: Any, **named: Any) -> "Inert":
        """A record of the call; nothing is called."""
        record = object.__new__(cls)
        record.arguments, record.named = arguments, named
        record.state, record.items, record.entries = None, [], {}
        return record

    arguments: tuple[Any, ...]
    named: dict[str, Any]
    state: Any
    items: list[Any]
    entries: dict[Any, Any]

    def __init__(self, *_: Any, **__: Any) -> None:
        """Everything is recorded in `__new__`, which a pickle may call without `__init__`."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, item: Any) -> None:
        """Record an item of a list."""
        self.items.append(item)

    def extend(self, items: Any) -> None:
        """Record items of a list."""
        self.items.extend(items)

    def add(self, item: Any) -> None:
        """Record an item of a set."""
        self.items.append(item)

    def __hash__(self) -> int:
        return id(self)


class Shape(tuple[int, ...]):
    """The shape of a tensor whose numbers are not read."""

    __slots__ = ()


class Unpickler(pickle.Unpickler):
    """Builds dicts, lists, strings and numbers, and an `Inert` for everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """A class of `Inert` records, whatever the name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        origin = f"{module}.{name}".replace("__builtin__.", "builtins.")
        return type("Inert", (Inert,), {"origin": origin})


def plain(value: Any) -> Any:
    """`value` with every record of a known meaning replaced by a plain value.

    Raises `RecursionError`, naming the key, for values deeper than `MAX_DEPTH` or more than `MAX_VALUES`.
    """
    if not isinstance(value, Mapping):
        return _Conversion().plain(value, 0)
    converted = {}
    for key, item in value.items():
        try:
            converted[key] = _Conversion().plain(item, 1)
        except RecursionError as exc:
            raise RecursionError(f"{key} {exc}") from exc
    return converted


class _Conversion:
    """One conversion to plain values, with a limit on its size."""

    def __init__(self) -> None:
        self.left = MAX_VALUES

    def plain(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if depth > MAX_DEPTH or self.left < 0:
            raise RecursionError(f"is nested too deeply, or has more than {MAX_VALUES:,} values")
        if isinstance(value, Shape):
            return value
        if isinstance(value, Mapping):
            return {key: self.plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.plain(item, depth + 1) for item in value]
        if is_tensor(value):
            return type(value).detach(value)  # a parameter's tensor, without attributes that a file gave it
        return self._meaning(value, depth) if isinstance(value, Inert) else value

    def _meaning(self, record: Inert, depth: int) -> Any:
        """The value that a record stands for; the record itself if its meaning is not known."""
        origin, state = record.origin, record.state
        if isinstance(state, dict):
            if "_modules" in state and "_parameters" in state:
                weights = dict(self._module_state(record, depth))
                return {"state_dict": weights, "module": origin, "activations": dict(_activations(record))}
            for key in ("_content", "_val"):  # OmegaConf's containers and values, which link to their parents
                if key in state:
                    return self.plain(state[key], depth + 1)
        record.arguments = tuple(self.plain(list(record.arguments), depth + 1))
        record.state = self.plain(state, depth + 1)
        if origin in _DICTS:
            return self.plain(record.entries, depth + 1)
        if origin in _SETS:
            return record.arguments[0] if record.arguments else self.plain(record.items, depth + 1)
        if origin == "_codecs.encode":
            return record.arguments[0].encode("latin1")
        if origin in _DATES:
            return _date(_DATES[origin], record.arguments)
        if origin.startswith("pathlib."):
            return "/".join(str(part) for part in record.arguments).replace("//", "/")
        if origin == "torch.Size":
            return record.arguments[0]
        if origin.startswith(_NUMPY) or origin in ("numpy.dtype", "numpy.ndarray"):
            return _numpy(record)
        if record.entries or record.items:  # of a class derived from dict or list
            return self.plain(record.entries or record.items, depth + 1)
        is_namespace = isinstance(state, dict) and not record.arguments and not origin.startswith("sklearn.")
        return record.state if is_namespace else record

    def _module_state(self, module: Inert, depth: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """The state dict of a pickled module: its parameters and buffers, and its children's."""
        if depth > MAX_DEPTH:
            raise RecursionError("is nested too deeply")
        state = module.state
        unsaved = self.plain(state.get("_non_persistent_buffers_set") or [], depth + 1)
        for kind in ("_parameters", "_buffers"):
            for name, tensor in self.plain(state.get(kind) or {}, depth + 1).items():
                if is_tensor(tensor) and name not in unsaved:
                    yield f"{prefix}{name}", tensor
        for name, child in (state.get("_modules") or {}).items():
            if isinstance(child, Inert) and isinstance(child.state, dict):
                yield from self._module_state(child, depth + 1, f"{prefix}{name}.")


def _activations(module: Inert, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """The place and class of each activation in a pickled module, such as `fusion.1` and `ReLU`."""
    children = module.state.get("_modules") if depth <= MAX_DEPTH and isinstance(module.state, dict) else None
    for name, child in (children or {}).items():
        if isinstance(child, Inert):
            package, _, kind = child.origin.rpartition(".")
            if package == "torch.nn.modules.activation":
                yield f"{prefix}{name}", kind
            yield from _activations(child, f"{prefix}{name}.", depth + 1)


def _date(kind: type, arguments: tuple[Any, ...]) -> str | float:
    """ISO 8601, or seconds for a timedelta; a time zone is left out."""
    given = [each for each in arguments if not isinstance(each, Inert)]
    made = kind(*given)
    return made.total_seconds() if isinstance(made, datetime.timedelta) else str(made.isoformat())


def _numpy(record: Inert) -> Any:
    """A NumPy dtype as its code, an array or scalar as such; a record for objects, which have no bytes."""
    arguments, state = record.arguments, record.state
    if record.origin.endswith(".numeric._frombuffer"):  # of pickles from protocol 5 on
        content, code, shape, order = arguments
        return np.frombuffer(content, dtype=_dtype(code)).reshape(shape, order=order).copy()
    if record.origin == "numpy.dtype":
        order = state[1] if isinstance(state, list) and state[1] in ("<", ">") else ""
        return order + str(arguments[0])
    name = record.origin.rpartition(".")[2]
    if name == "scalar":
        code, content = arguments
        return np.frombuffer(content, dtype=_dtype(code))[0].item()
    if name == "_reconstruct" and isinstance(state, list) and len(state) == 5:
        _, shape, code, is_fortran, content = state
        if isinstance(content, list):  # an array of objects, such as names
            return content
        array = np.frombuffer(content, dtype=_dtype(code))
        return array.reshape(shape, order="F" if is_fortran else "C").copy()
    return record


def _dtype(code: str) -> np.dtype[Any]:
    dtype = np.dtype(code)
    if dtype.hasobject:
        raise ValueError(f"an array of {code}, expected numbers")
    return dtype


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor or the shape of one, without importing torch."""
    return isinstance(value, Shape) or any(
        kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__
    )


def find_records(value: Any, where: str = "") -> Iterator[tuple[str, Inert]]:
    """Every record that has no plain meaning, with its place such as `provenance.scaler`."""
    if isinstance(value, Inert):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from find_records(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find_records(item, f"{where}[{index}]")
