"""The contents of a checkpoint file and its sidecar other than the weights, read without torch."""

import json
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from model.card import MIN_TOKENS, ModelCard
from model.checkpoint.file import HEAD_BYTES, SIDECAR_SUFFIX, CheckpointError, check_format, is_safetensors
from model.checkpoint.fitted import statistics, with_weekday_codes
from model.checkpoint.inert import Inert, Shape, Unpickler, find_records, plain
from model.checkpoint.names import LayoutError, other_keys

# A large network takes 30,000; each may make an object of 100 bytes.
MAX_INSTRUCTIONS = 1_000_000
LEGACY_PICKLES = 4  # magic number, version, machine and contents, in a row
CARD_KEYS = (
    *("config", "scalar_features", "feature_stats", "velocity", "calibration", "text", "image"),
    *("test_metrics", "golden", "provenance", "distributions", "titles"),
    *("patterns", "interval_coverage", "meaningful_difference"),
)
# Names of a tokenizer's limit in the config of a training script.
MAX_TOKENS_NAMES = (
    "max_tokens",
    "max_seq_length",
    "max_seq_len",
    "max_token_length",
    "max_length",
    "max_len",
)
MAX_POSITIONS = 512
FITTED_KEYS = ("feature_stats", "velocity")
READING_KEYS = ("weights_from", "read_as")  # what `layouts` says about an unusual file
SIDECAR_KEYS = CARD_KEYS[1:]  # the architecture is in the weights


def sidecar_path(path: Path) -> Path:
    """The path of a checkpoint's statistics, `model_full.stats.json`."""
    return path.with_suffix(SIDECAR_SUFFIX)


def own_values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file that belong to a card, `metadata` being all of them."""
    own = {key: metadata[key] for key in CARD_KEYS if not is_absent(metadata.get(key))}
    for key in FITTED_KEYS:  # a scaler there is read by `statistics`
        if isinstance(own.get(key), Inert) and own[key].origin.startswith("sklearn."):
            del own[key]
    tokens = _max_tokens(metadata.get("config"))
    if tokens is not None and "text" not in own:
        own["text"] = {"max_tokens": tokens}
    notes = _notes(metadata)
    if notes and isinstance(own.get("provenance", {}), Mapping):
        own["provenance"] = {**own.get("provenance", {}), **notes}
    return own


def _max_tokens(config: Any) -> int | None:
    """The tokens of a text that a file's own `config` states."""
    names = config if isinstance(config, Mapping) else {}
    found = next((names[name] for name in MAX_TOKENS_NAMES if type(names.get(name)) is int), None)
    return found if found is not None and MIN_TOKENS <= found <= MAX_POSITIONS else None


def _notes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in READING_KEYS if key in values}


def complete_values(
    path: Path, metadata: Mapping[str, Any], own: Mapping[str, Any], sidecar: Mapping[str, Any]
) -> dict[str, Any]:
    """The card's keys: the file's `own`, what fitted objects in its `metadata` give, and the sidecar's.

    Raises `CheckpointError` for objects that contradict each other.
    """
    try:
        values = own_and_fitted(metadata, own, sidecar.get("scalar_features"))
        return with_weekday_codes(_joined(sidecar, values), metadata)
    except LayoutError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc


def own_and_fitted(
    metadata: Mapping[str, Any], own: Mapping[str, Any], columns: Any = None
) -> dict[str, Any]:
    """The file's `own` keys and those of fitted objects in its `metadata`. Raises `LayoutError`.

    `columns` are the names of the scalar columns if the file has none.
    """
    names = own.get("scalar_features", columns)
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return {**statistics(dict(find_records(metadata)), names if is_list else [], own), **own}


def _joined(sidecar: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the file's `own` overriding; a feature's mean may be in the file and its codes in the sidecar."""
    values, stats, others = {**sidecar, **own}, own.get("feature_stats"), sidecar.get("feature_stats")
    if isinstance(own.get("text"), Mapping) and isinstance(sidecar.get("text"), Mapping):
        values["text"] = {**sidecar["text"], **own["text"]}
    if isinstance(stats, Mapping) and isinstance(others, Mapping):
        values["feature_stats"] = {
            name: {**others[name], **moments}
            if isinstance(moments, Mapping) and isinstance(others.get(name), Mapping)
            else moments
            for name, moments in stats.items()
        }
    return values


def changed_keys(path: Path, card: ModelCard) -> list[str]:
    """The keys whose values in the checkpoint at `path` or its sidecar differ from those in `card`.

    Raises `CheckpointError` if they can't be read.
    """
    metadata = other_keys(read_outline(path))
    own, sidecar = own_values(metadata), read_sidecar(path)
    own.pop("config", None)  # the weights decide
    known = card.to_file()
    if isinstance(own.get("provenance"), Mapping):
        own["provenance"] = {**_notes(known["provenance"]), **own["provenance"]}
    try:
        expected = ModelCard.model_validate(
            {**known, **complete_values(path, metadata, own, sidecar)}
        ).to_file()
    except ValidationError as exc:
        return sorted({str(error["loc"][0]) for error in exc.errors() if error["loc"]})
    return [key for key, value in expected.items() if value != known[key]]


def check_size(path: Path, *, is_zip: bool) -> None:
    """Raises `CheckpointError` for a pickle that would fill the memory; the weights are not part of it."""
    with path.open("rb") as file:
        if not is_zip:
            for _ in range(LEGACY_PICKLES):
                _count_instructions(path, file)
            return
        with zipfile.ZipFile(file) as archive, archive.open(_pickle_of(path, archive)) as pickled:
            _count_instructions(path, pickled)


def _count_instructions(path: Path, pickled: IO[bytes]) -> None:
    for number, _ in enumerate(pickletools.genops(pickled)):
        if number == MAX_INSTRUCTIONS:
            raise CheckpointError(
                f"{path}: describes more than {MAX_INSTRUCTIONS:,} values other than its tensors, which is "
                "the limit. Save long lists of numbers as tensors."
            )


def _shape(_storage: Any, _offset: Any, size: Any, *_: Any) -> Shape:
    return Shape(size)


def _same(tensor: Any, *_: Any) -> Any:
    return tensor


_SHAPES = {"_rebuild_tensor": _shape, "_rebuild_tensor_v2": _shape, "_rebuild_parameter": _same}


class _Outline(Unpickler):
    """Builds the shapes of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        return (
            _SHAPES.get(name)
            if module == "torch._utils" and name in _SHAPES
            else super().find_class(module, name)
        )

    def persistent_load(self, _: Any) -> None:
        return None  # the numbers


def read_outline(path: Path) -> Any:
    """What the file holds, with the `Shape` of each tensor. Raises `CheckpointError`."""
    try:
        with path.open("rb") as file:
            check_format(path, file.read(HEAD_BYTES))
        if is_safetensors(path):
            return _shapes_of_safetensors(path)
        is_zip = zipfile.is_zipfile(path)
        check_size(path, is_zip=is_zip)
        with path.open("rb") as file:
            if not is_zip:
                return plain([_Outline(file).load() for _ in range(LEGACY_PICKLES)][-1])
            with zipfile.ZipFile(file) as archive, archive.open(_pickle_of(path, archive)) as pickled:
                return plain(_Outline(pickled).load())
    except CheckpointError:
        raise
    except OSError as exc:
        raise CheckpointError(
            f"{path}: cannot be read ({exc.strerror or exc}); check the path and its permissions"
        ) from exc
    except Exception as exc:
        # A damaged pickle can raise any exception; in every case the file is at fault.
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({type(exc).__name__}). Copy it again."
        ) from exc


def _shapes_of_safetensors(path: Path) -> dict[str, Shape]:
    """From the JSON object that the file begins with."""
    with path.open("rb") as file:
        tensors = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: Shape(each["shape"]) for name, each in tensors.items() if name != "__metadata__"}


def _pickle_of(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The member with everything except the tensors' numbers. Raises `CheckpointError` without one."""
    members = archive.infolist()
    found = next((each for each in members if each.filename.endswith("data.pkl")), None)
    if found is None:
        names = [each.filename for each in members]
        raise CheckpointError(
            f"{path}: is a zip archive of {some(names)}, and not one that torch.save wrote. If the "
            "checkpoint is in it, unpack it and name that file."
        )
    return found


def read_sidecar(path: Path) -> dict[str, Any]:
    """The keys of the sidecar; without one, none."""
    sidecar = sidecar_path(path)
    if not sidecar.exists():
        return {}
    try:
        statistics = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{sidecar}: is not readable JSON ({exc}). Write it again.") from exc
    expected = f"expected an object with {', '.join(SIDECAR_KEYS)}"
    if not isinstance(statistics, dict):
        raise CheckpointError(f"{sidecar}: holds a {type(statistics).__name__}, {expected}")
    unknown = sorted(statistics.keys() - set(SIDECAR_KEYS))
    if unknown:
        raise CheckpointError(f"{sidecar}: holds {some(unknown)}, {expected}")
    return {key: value for key, value in statistics.items() if not is_absent(value)}


def is_absent(value: Any) -> bool:
    """Whether a key is missing, null or an empty collection."""
    return value is None or (isinstance(value, Mapping | list | tuple | str) and not value)


def some(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
