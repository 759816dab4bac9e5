"""What is said about a title whose words the text encoder does not know."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from features import Video
from model.checkpoint.store import Checkpoint, write_checkpoint
from serving.lifecycle.loading import load_model
from serving.scoring.cache import VectorCache
from serving.scoring.encoders import Encoded, TextEncoder
from serving.scoring.towers import Stopwatch, text_tower
from serving.settings import Settings
from tests.support.tiny import tiny_checkpoint

pytestmark = pytest.mark.anyio
KNOWN = "I tried five viral pasta hacks"


async def encoded(directory: Path, checkpoint: Checkpoint, titles: list[str]) -> list[Encoded]:
    """The titles through the text tower of `checkpoint`, as the service loads it."""
    path = directory / "words.pt"
    write_checkpoint(path, checkpoint)
    model = load_model(Settings(checkpoint=str(path), engine="torch", threads=1))
    with ThreadPoolExecutor(1) as executor:
        tower = text_tower(model, VectorCache(max_bytes=0), executor, max_batch_size=4)
        encoder = TextEncoder(tower, executor)
        async with tower.queue:
            return [await encoder.encode(Video(title=title), Stopwatch()) for title in titles]


async def test_unknown_words_are_reported(tmp_path: Path) -> None:
    """Random letters, other scripts and no words have a reason and a warning; known words have neither."""
    unknown, wordless = "does not know the words", "has no words"
    rows = {
        KNOWN: None,
        "GOAL OF THE YEAR!!! 😂": None,
        "Cómo hacer pan en casa": None,
        "xqzvbn wrtplk jhgf": unknown,
        "sdkfjh skdjfh " * 100: unknown,  # longer than the model reads
        "Как испечь хлеб дома": unknown,
        "お家でパンを焼く方法": unknown,
        "घर पर रोटी कैसे बनाएं": unknown,
        "24/7": wordless,
        "😂😂😂": wordless,
        "": None,  # missing, not unknown
    }
    checkpoint = tiny_checkpoint(with_vision=False).with_card(titles={"min_letters_per_piece": 1.8})
    found = await encoded(tmp_path, checkpoint, list(rows))
    failures = []
    for (title, expected), text in zip(rows.items(), found, strict=True):
        about = [warning for warning in text.warnings if "words" in warning]
        is_said = (text.report.reason == "unknown_words", len(about)) == (True, 1) and expected in about[0]
        if (expected is None and (about or text.report.reason == "unknown_words")) or (
            expected and not is_said
        ):
            failures.append((title[:30], text.report, text.warnings))
    assert failures == []


async def test_a_checkpoint_without_the_number_says_nothing(tmp_path: Path) -> None:
    """Older checkpoints do not have `min_letters_per_piece`."""
    (text,) = await encoded(tmp_path, tiny_checkpoint(with_vision=False), ["xqzvbn wrtplk"])
    assert (text.report.reason, text.warnings) == (None, ())


async def test_a_text_without_weight_is_reported(tmp_path: Path) -> None:
    """If the head gives text no weight, every title gets that warning, and none about its words."""
    checkpoint = tiny_checkpoint(with_vision=False).with_card(titles={"min_letters_per_piece": 1.8})
    weight = checkpoint.state_dict["fusion.0.weight"].clone()
    weight[:, : checkpoint.card.config.text.output_dim] = 0
    blind = Checkpoint(checkpoint.card, {**checkpoint.state_dict, "fusion.0.weight": weight})
    for text in await encoded(tmp_path, blind, [KNOWN, "xqzvbn wrtplk"]):
        assert text.warnings == ("This checkpoint gives the words of a title no weight.",)
        assert text.report.reason is None
