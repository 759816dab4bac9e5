"""The serving engine: rows in are rows out, in every precision, whatever shapes it pads to."""

import os
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.compile.calibration_set import draw_images
from model.compiled.engine import OpenVinoEngine, threads_by_tower
from model.torch_engine import TorchEngine
from tests.support.tiny import SIDE, multiplied, tiny_checkpoint

LENGTHS = (1, 5, 16, 17, 40, 128)
WIDTH = 64  # of the fusion's first layer


def texts(lengths=LENGTHS):
    draw = np.random.default_rng(11)
    ids = [[101, *draw.integers(1000, 30000, length - 1).tolist()] for length in lengths]
    return ids, [[0] * ((len(row) + 1) // 2) + [1] * (len(row) // 2) for row in ids]


def pixels(count):
    return draw_images(count, SIDE, SIDE, seed=5)


@pytest.fixture(scope="module")
def quantised(few_titles, tmp_path_factory):
    """The tiny towers in int8; another test covers their fidelity, so a few inputs calibrate them."""
    from model.compile.calibration_set import calibration_inputs
    from model.compile.export import export_towers
    from model.compile.quantise import quantise

    work = tmp_path_factory.mktemp("quantised")
    checkpoint = tiny_checkpoint()
    export_towers(checkpoint.build_model(), 1.0, work)
    inputs = calibration_inputs(checkpoint.card, few_titles)
    inputs = replace(inputs, known_images=inputs.known_images[:8])
    for tower in ("text", "image"):
        quantise(tower, work / f"{tower}.xml", inputs, work / f"{tower}.int8.xml", static=tower == "image")
        for suffix in (".xml", ".bin"):
            (work / f"{tower}.int8{suffix}").replace(work / f"{tower}{suffix}")
    return work


@pytest.fixture(scope="module", params=["f32", "bf16", "int8"])
def engine(request, exact, quantised):
    """An engine in each precision; where bf16 is not supported, its hint is harmless."""
    precision = {"text": request.param, "image": request.param, "fusion": "f32"}
    directory = quantised if request.param == "int8" else exact.directory
    return OpenVinoEngine(replace(exact, directory=directory, precision=precision), threads=2)


@pytest.fixture(scope="module")
def reference():
    return TorchEngine(tiny_checkpoint())


def spread(vectors):
    """Mean distance of vectors from their mean: the scale on which a difference is large or small."""
    return np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).mean()


def test_neighbours_do_not_change_a_text(engine):
    """A text in a row with others is encoded as it is alone."""
    ids, types = texts()
    together = engine.encode_text(ids, types)
    alone = np.concatenate([engine.encode_text([i], [t]) for i, t in zip(ids, types, strict=True)])
    # bf16 rounds sums whose order depends on the shape; nothing else may differ.
    allowed = (0.05 if "bf16" in engine.precision else 0.01) * spread(alone)
    assert np.linalg.norm(together - alone, axis=1).max() < allowed


def test_an_image_in_a_batch_is_the_image_alone(engine):
    """Padding a batch to a common size does not change any answer."""
    images = pixels(3)
    together = engine.encode_image(images)
    alone = np.concatenate([engine.encode_image(image[None]) for image in images])
    assert np.linalg.norm(together - alone, axis=1).max() < 0.05 * spread(alone)


def test_every_precision_tells_inputs_apart_as_the_network_does(engine, reference):
    """Each vector is nearest the network's own for that input: no row is swapped or lost."""
    ids, types = texts([9] * 12)
    text, image = multiplied(
        tiny_checkpoint(), reference.encode_text(ids, types), reference.encode_image(pixels(5))
    )
    for ours, theirs in ((engine.encode_text(ids, types), text), (engine.encode_image(pixels(5)), image)):
        distances = np.linalg.norm(ours[:, None] - theirs[None], axis=2)
        assert distances.argmin(axis=1).tolist() == list(range(len(ours)))


def test_rows_in_are_rows_out(engine):
    """Any number of videos, within and beyond the sizes that are warmed up."""
    for rows in (1, 2, 3, 7, 9, 17):
        text = engine.encode_text(*texts([6] * rows))
        image = engine.encode_image(pixels(rows))
        scores = engine.score(text, image, np.zeros((rows, 18), np.float32))
        assert text.shape == image.shape == (rows, WIDTH)
        assert scores.viral.shape == scores.velocity.shape == (rows,)


def test_float32_equals_the_reference(exact, reference):
    """Padded to its common shapes, it still answers as torch does."""
    engine = OpenVinoEngine(exact, threads=1)
    ids, types = texts()
    vectors = reference.encode_text(ids, types), reference.encode_image(pixels(6))
    text, image = multiplied(tiny_checkpoint(), *vectors)
    np.testing.assert_allclose(engine.encode_text(ids, types), text, rtol=0, atol=1e-4)
    scalars = np.eye(6, 18, dtype="f")
    ours, theirs = engine.score(text, image, scalars), reference.score(*vectors, scalars)
    np.testing.assert_allclose(ours.viral, theirs.viral, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.velocity, theirs.velocity, rtol=1e-4)


def test_answers_are_the_callers_own(engine):
    """The next call does not overwrite what the last one gave."""
    ids, types = texts([9, 9])
    first = engine.encode_text(ids[:1], types[:1])
    kept = first.copy()
    engine.encode_text(ids[1:], types[1:])
    np.testing.assert_array_equal(first, kept)


def test_read_only_pixels_are_taken(engine):
    """Pixels from a decoder or a cache may be read-only."""
    image = pixels(1)
    image.setflags(write=False)
    assert engine.encode_image(image).shape == (1, WIDTH)


def test_warming_up_runs_every_tower(engine):
    """Before the first request; it changes no answer."""
    ids, types = texts([12])
    before = engine.encode_text(ids, types)
    engine.warm_up()
    np.testing.assert_array_equal(engine.encode_text(ids, types), before)


def test_weights_are_not_held_twice(text_only, tmp_path, monkeypatch):
    """After warming up, almost none of the graphs' files is resident, and answers are unchanged."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    engine = OpenVinoEngine(text_only, 1)
    ids, types = texts([12])
    before, held = engine.encode_text(ids, types), resident_kb(tmp_path)
    engine.warm_up()
    assert resident_kb(tmp_path) < 0.2 * held
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(engine.encode_text(ids, types), before)


def resident_kb(directory):
    """Kilobytes of the files in `directory` that this process has in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.split(maxsplit=5)[-1].startswith(str(directory))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_files_cut_in_service_change_no_answer(text_only, tmp_path, monkeypatch):
    """Graphs truncated in place are not read again, with or without a disk for copies."""
    ids, types = texts([12])
    for name, scratch in {"disk": str(tmp_path), "no disk": "/proc"}.items():
        monkeypatch.setattr(tempfile, "tempdir", scratch)
        own = replace(text_only, directory=Path(shutil.copytree(text_only.directory, tmp_path / name)))
        engine = OpenVinoEngine(own, 1)
        engine.warm_up()
        before = engine.encode_text(ids, types)
        for path in own.directory.iterdir():
            os.truncate(path, 0)
        np.testing.assert_array_equal(engine.encode_text(ids, types), before)


def test_a_text_only_bundle_scores_without_images(text_only):
    """Images are vectors of length 0, and warming up needs none."""
    engine = OpenVinoEngine(text_only, 1)
    engine.warm_up()
    assert engine.neutral_image.shape == (0,)
    image = engine.encode_image(pixels(2))
    assert image.shape == (2, 0)
    scores = engine.score(engine.encode_text(*texts([5, 6])), image, np.zeros((2, 18), np.float32))
    assert scores.viral.shape == (2,)


def test_towers_share_all_processors_but_divide_a_quota():
    """Under a quota, towers that run at once have no more threads in total than allowed."""
    assert threads_by_tower(2, processors=2) == {"text": 2, "image": 2, "fusion": 2}
    assert threads_by_tower(1, processors=64) == {"text": 1, "image": 1, "fusion": 1}
    assert threads_by_tower(2, processors=64) == {"text": 1, "image": 1, "fusion": 1}
    assert threads_by_tower(5, processors=64) == {"text": 2, "image": 3, "fusion": 1}
    assert threads_by_tower(2, processors=64, steps=["text"]) == {"text": 2}


def test_an_engine_for_some_steps_reads_no_other_graph(exact, tmp_path):
    """With the other towers' graphs deleted, it warms up and answers as the whole engine does."""
    whole = OpenVinoEngine(exact, threads=1)
    ids, types = texts()
    zeros = np.zeros((2, WIDTH), "f"), np.zeros((2, WIDTH), "f"), np.zeros((2, 18), "f")
    questions = {
        "text": lambda engine: engine.encode_text(ids, types),
        "image": lambda engine: engine.encode_image(pixels(2)),
        "fusion": lambda engine: engine.score(*zeros).viral,
    }
    for step, ask in questions.items():
        own = replace(exact, directory=Path(shutil.copytree(exact.directory, tmp_path / step)))
        for other in questions.keys() - {step, "fusion"}:
            own.graph(other).unlink()
            own.graph(other).with_suffix(".bin").unlink()
        engine = OpenVinoEngine(own, threads=1, steps=(step,))
        engine.warm_up()
        np.testing.assert_array_equal(ask(engine), ask(whole))


def test_one_thread_runs_one_tower_at_a_time(exact):
    """With a single thread there is nothing to share, and nothing runs at once."""
    assert not OpenVinoEngine(exact, threads=1).concurrent
    assert OpenVinoEngine(exact, threads=2).concurrent
