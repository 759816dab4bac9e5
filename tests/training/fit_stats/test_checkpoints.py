"""Which checkpoints need statistics, and what is read from them."""

import torch

from features import MILES_V0
from tests.training.fit_stats.first_csv import first_rows
from tests.training.fit_stats.owners import SHAPES, owners_file, run


def test_a_file_without_column_names_is_identified_by_its_shapes(tmp_path, capsys):
    """A bare text-only state dict with 18 columns gets the first list of columns, and the report says so."""
    path = tmp_path / "model_full.pt"
    torch.save(
        {f"module.{name}": torch.nn.Parameter(torch.ones(shape)) for name, shape in SHAPES.items()}, path
    )
    code, sidecar = run(tmp_path, path, first_rows(20))
    assert code == 0
    assert sidecar["scalar_features"] == list(MILES_V0)
    assert (
        "has no scalar_features; its layout is that of the first text-only models" in capsys.readouterr().out
    )


def test_the_format_before_zip_files_is_read(tmp_path):
    """torch wrote it before version 1.6."""
    path = tmp_path / "model_full.pt"
    contents = torch.load(owners_file(path), weights_only=False)
    torch.save(contents, path, _use_new_zipfile_serialization=False)
    assert run(tmp_path, path, first_rows(20))[0] == 0


class _Runs:
    """An object whose unpickling would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


CHECKPOINTS = {
    "other columns": ({"scalar_features": ["views", "mood"]}, "unknown features mood; this version defines"),
    "no names": ({"scalar_features": [1, 2]}, "scalar_features is not a list of names"),
    "its own statistics": (
        {"feature_stats": {"views": {"mean": 1}}, "velocity": {"transform": "min-max"}},
        "has its own feature_stats and velocity",
    ),
    "images and no names": (
        {
            "scalar_features": None,
            "model_state_dict": {name: torch.ones(shape) for name, shape in SHAPES.items()}
            | {"vision_encoder.x": torch.ones(1)},
        },
        "has no scalar_features, and is not of the first text-only layout",
    ),
}


def test_a_checkpoint_without_columns_or_with_statistics_is_refused(tmp_path, capsys):
    """The checkpoint decides whether there is anything to fit."""
    failures = []
    for case, (changes, sentence) in CHECKPOINTS.items():
        result = run(tmp_path, owners_file(tmp_path / "model_full.pt", **changes), first_rows(5))
        error = capsys.readouterr().err
        if result != (1, None) or sentence not in error:
            failures.append((case, result, error))
    assert failures == []


def test_reading_a_checkpoint_runs_none_of_its_code(tmp_path):
    """A function that a pickle names is not called, and the columns are read."""
    canary = tmp_path / "canary"
    path = owners_file(tmp_path / "model_full.pt", config=_Runs(canary))
    assert run(tmp_path, path, first_rows(20))[0] == 0
    assert not canary.exists()


def test_a_broken_checkpoint_is_one_sentence(tmp_path, capsys):
    """For any bytes, the error names the file and the next step."""
    path, failures = tmp_path / "model_full.pt", []
    for encoded in (b"", b"PK\x03\x04 torn", b"\x80\x02.", b"no pickle at all"):
        path.write_bytes(encoded)
        result = run(tmp_path, path, first_rows(5))
        error = capsys.readouterr().err
        if result != (1, None) or f"{path}: is " not in error or "not a torch.save file" not in error:
            failures.append((encoded, result, error))
    assert failures == []
