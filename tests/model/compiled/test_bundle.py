"""A compiled bundle on disk: what was written is read, and what was changed is refused in one clear line."""

import json
import os
import shutil

import numpy as np
import pytest

from model.compiled.bundle import BundleError, int8_instructions, processor, read_bundle
from model.compiled.files import MANIFEST, is_bundle


@pytest.fixture
def copy(exact, tmp_path):
    """A bundle that a test may damage."""
    return shutil.copytree(exact.directory, tmp_path / "bundle")


def change(directory, **values):
    manifest = directory / MANIFEST
    merged = json.loads(manifest.read_text()) | values
    manifest.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))


def refused(directory):
    """The error line from reading `directory`, checked to name it and the way out."""
    with pytest.raises(BundleError) as caught:
        read_bundle(directory)
    message = str(caught.value)
    assert message.startswith(str(directory))
    assert message.endswith("Compile the checkpoint again with `./miles compile`.")
    assert message.splitlines() == [message]
    return message


def test_what_was_written_is_read(exact):
    """Card, precision, report and the neutral image survive the trip through JSON."""
    again = read_bundle(exact.directory)
    assert again.card == exact.card
    assert again.precision == {"text": "f32", "image": "f32", "fusion": "f32"}
    assert again.report == exact.report
    np.testing.assert_array_equal(again.neutral_image, exact.neutral_image)


def test_a_changed_or_missing_file_is_refused(copy):
    """One extra byte in any graph, and a missing graph."""
    for name in ("text.bin", "image.xml", "fusion.bin"):
        with (copy / name).open("r+b") as file:
            file.seek(0, 2)
            size = file.tell()
            file.write(b" ")
            file.flush()
            assert f"{name}: sha256 is " in refused(copy)
            file.truncate(size)
    for name in ("text.xml", "image.bin"):
        (copy / name).unlink()
        assert f"{name} cannot be read (No such file or directory)" in refused(copy)


def test_only_graphs_are_read(copy):
    """A pipe in place of a graph is refused without waiting, and no file elsewhere is opened."""
    (copy / "text.xml").unlink()
    os.mkfifo(copy / "text.xml")
    assert "text.xml cannot be read (not a regular file)" in refused(copy)
    files = json.loads((copy / MANIFEST).read_text())["files"]
    change(copy, files=files | {"../../etc/passwd": "0"})
    assert "lists ../../etc/passwd, expected only graphs" in refused(copy)


def test_a_nested_manifest_is_refused(copy):
    """JSON may nest deeper than Python can follow, in the whole or in one value."""
    manifest = (copy / MANIFEST).read_text()
    nested = manifest.replace('"report": {', '"report": {"x": ' + "[" * 900 + "]" * 900 + ", ")
    for text in ("[" * 100_000 + "]" * 100_000, nested):
        (copy / MANIFEST).write_text(text)
        refused(copy)


def test_without_a_manifest_there_is_no_bundle(copy):
    assert is_bundle(copy)
    (copy / MANIFEST).unlink()
    assert not is_bundle(copy)
    assert f"{MANIFEST}: cannot be read" in refused(copy)


def test_a_manifest_that_lists_no_image_graph_is_refused(copy):
    """The model's card says which towers there must be; the list of files cannot leave one out."""
    files = json.loads((copy / MANIFEST).read_text())["files"]
    change(copy, files={name: digest for name, digest in files.items() if not name.startswith("image")})
    assert "lists no file for image.bin, image.xml" in refused(copy)


MANIFESTS = [
    ({"format": 99}, "format is 99, expected 3"),
    ({"card": None}, "lacks card"),
    ({"card": [1]}, "card is [1], expected a valid dictionary"),
    ({"files": None}, "lacks files"),
    ({"files": [1]}, "files is [1], expected a valid dictionary"),
    ({"precision": {"text": "f32"}}, "lists no precision for fusion, image"),
    ({"precision": {"text": "f8", "image": "f32", "fusion": "f32"}}, "precision.text is 'f8'"),
    ({"neutral_image": [1.0]}, "neutral image has 1 numbers, its image tower gives 512"),
]


def test_a_manifest_of_another_kind_is_refused(copy):
    """The error says what is wrong with it; a truncated, empty or foreign manifest is named."""
    good, failures = (copy / MANIFEST).read_text(), []
    for changes, sentence in MANIFESTS:
        change(copy, **changes)
        failures += [] if sentence in (message := refused(copy)) else [f"{changes}: {message}"]
        (copy / MANIFEST).write_text(good)
    for text in ("", "{", "[]", "null", '"bundle"', "\x00"):
        (copy / MANIFEST).write_text(text)
        failures += [] if MANIFEST in (message := refused(copy)) else [f"{text!r}: {message}"]
    assert failures == []


def test_processors_of_one_name_are_told_apart_by_what_multiplies_int8(tmp_path):
    """By the processor's flags; AMX counts if both are present. A bundle's processor name includes it."""
    flags = {
        "flags : avx2 avx512_vnni amx_tile amx_int8": "AMX",
        "flags : avx2 avx_vnni": "VNNI",
        "flags : avx2 avx512_vnni amx_bf16": "VNNI",
        "flags : avx2 fma": "neither AMX nor VNNI",
    }
    found = {}
    for text in flags:
        (tmp_path / "cpuinfo").write_text(text)
        found[text] = int8_instructions(tmp_path / "cpuinfo")
    assert found == flags
    assert int8_instructions(tmp_path / "none") == "neither AMX nor VNNI"
    assert processor().endswith(f"INT8 with {int8_instructions()})")
