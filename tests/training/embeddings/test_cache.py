"""Vectors that encoders have computed survive a kill, and nothing is computed twice."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from model.torch_engine import TorchEngine
from tests.support.house import ROOT
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, texts
from training.embeddings.cache import EmbeddingCache, key_of
from training.embeddings.text import encode_texts
from training.head.fit import untrained_checkpoint

KEYS = [key_of(bytes([number])) for number in range(3)]
VECTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
# Encodes the synthetic titles; after the first file on disk it waits forever, as if it were busy.
HALF_WAY = """
import sys, time
from pathlib import Path
from model.torch_engine import TorchEngine
from tests.training.synthetic import RECIPE, SEED, dataset, encoders
from training.head.fit import untrained_checkpoint
from training.embeddings.text import encode_texts
base = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)
class Slow(TorchEngine):
    batches = 0
    def encode_text(self, *texts):
        if Slow.batches == 2:
            print("half-way", flush=True)
            time.sleep(600)
        Slow.batches += 1
        return super().encode_text(*texts)
encode_texts(Slow(base), base, dataset(), Path(sys.argv[1]))
"""


class Counting(TorchEngine):
    """An engine that says how many texts it was given."""

    texts = 0

    def encode_text(self, input_ids, token_type_ids):
        self.texts += len(input_ids)
        return super().encode_text(input_ids, token_type_ids)


def test_added_vectors_are_read_again(tmp_path):
    """A new store over the same folder has every vector of the old one, bit for bit."""
    store = EmbeddingCache(tmp_path)
    store.add(KEYS[:2], VECTORS[:2])
    store.add(KEYS[2:], VECTORS[2:])
    again = EmbeddingCache(tmp_path)
    assert len(again) == 3
    for key, vector in zip(KEYS, VECTORS, strict=True):
        np.testing.assert_array_equal(again[key], vector)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", b"not a zip"])
def test_a_damaged_file_costs_only_its_own_vectors(tmp_path, capsys, damage):
    store = EmbeddingCache(tmp_path)
    store.add(KEYS[:2], VECTORS[:2])
    first = next(tmp_path.iterdir())
    store.add(KEYS[2:], VECTORS[2:])
    first.write_bytes(damage)
    again = EmbeddingCache(tmp_path)
    assert [key in again for key in KEYS] == [False, False, True]
    assert f"{first}: is damaged" in capsys.readouterr().err
    again.add(KEYS[:2], VECTORS[:2])
    assert len(EmbeddingCache(tmp_path)) == 3


def test_a_file_that_was_not_finished_is_ignored(tmp_path):
    """A batch that a kill left half-written is not read."""
    EmbeddingCache(tmp_path).add(KEYS, VECTORS)
    path = next(tmp_path.iterdir())
    path.rename(path.with_suffix(".partial"))
    assert len(EmbeddingCache(tmp_path)) == 0


def test_a_run_killed_half_way_continues_from_there(tmp_path):
    """After SIGKILL among the texts, the second run encodes only the rest; the vectors are the same."""
    command = [sys.executable, "-c", HALF_WAY, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "half-way\n"
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    base = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)
    engine = Counting(base)
    found = encode_texts(engine, base, dataset(), tmp_path)
    assert engine.texts == len(found.index) - 128
    np.testing.assert_array_equal(found.vectors, texts().vectors)


def test_another_encoder_has_its_own_vectors(tmp_path):
    """A cache that holds one encoder's vectors gives none of them to another."""
    base = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)
    encode_texts(TorchEngine(base), base, dataset(), tmp_path)
    weight = "text_encoder.bert.pooler.dense.weight"
    base.state_dict[weight] = base.state_dict[weight] * 2
    engine = Counting(base)
    found = encode_texts(engine, base, dataset(), tmp_path)
    assert engine.texts == len(found.index)
