"""Which groups of inputs a head learns, and how a request without them is made."""

from dataclasses import replace

from features import compute_features
from tests.training.synthetic import dataset
from training.head.knowns import HIDDEN, hidden, learned_groups, left_out, patterns_in

FLAGS = ("views_known", "reactions_known", "age_known", "history_known")


def with_lengths(lengths):
    """The synthetic rows; the first of each split have `lengths` in seconds."""
    found = dataset()
    changed = {}
    for name in ("train", "val", "test"):
        videos = found.split(name).videos
        timed = [replace(video, duration_seconds=each) for video, each in zip(videos, lengths, strict=False)]
        changed[name] = replace(found.split(name), videos=[*timed, *videos[len(timed) :]])
    return replace(found, **changed)


def test_a_hidden_group_is_unknown_to_the_features():
    """Without its views, a video has no views per hour and no history."""
    video = replace(
        dataset().train.videos[0],
        previous_view_count=1,
        previous_observed_at=dataset().train.videos[0].published_at,
    )
    rows = {
        (): [1, 1, 1, 1],
        ("views",): [0, 1, 1, 0],
        ("reactions",): [1, 0, 1, 1],
        ("age",): [1, 1, 0, 1],
        ("history",): [1, 1, 1, 0],
        ("views", "reactions", "age", "history"): [0, 0, 0, 0],
    }
    failures = [
        groups
        for groups, flags in rows.items()
        if compute_features(hidden([video], groups), FLAGS)[0].tolist() != flags
    ]
    assert failures == []


def test_a_group_is_learned_where_enough_rows_have_different_values():
    """Too few rows, or one value in all of them, would only teach when those rows were seen."""
    rows = [
        ("no row has a length", [], False),
        ("one row in three hundred has", [12.0], False),
        ("all have the same", [30.0] * 1000, False),
        ("many have different ones", [12.0, 30.0] * 25, True),
    ]
    failures = [case for case, lengths, learned in rows if is_learned(lengths) != learned]
    assert failures == []


def is_learned(lengths):
    found = with_lengths(lengths)
    said = any(sentence.startswith("duration_seconds has no effect") for sentence in left_out(found))
    learned = "length" in learned_groups(found)
    assert said != learned, "a group that is not learned is reported"
    return learned


def test_a_history_is_part_of_a_pattern_only_with_the_views():
    """Every other combination of the learned groups is a pattern, with the rest hidden."""
    patterns = patterns_in(tuple(HIDDEN))
    assert len(patterns) == 12
    assert [name for name in patterns if "history" in name and "views" not in name] == []
    assert patterns["views+age"] == ("reactions", "history")
    assert patterns_in(("age", "length")) == {"none": ("age",), "age": ()}


def test_likes_without_comments_are_not_reactions():
    """The flag of reactions needs both, so nothing could be calibrated for it."""
    found = dataset()
    for name in ("train", "val", "test"):
        split = found.split(name)
        halves = replace(split, videos=[replace(video, comment_count=None) for video in split.videos])
        found = replace(found, **{name: halves})
    assert "reactions" in learned_groups(dataset())
    assert "reactions" not in learned_groups(found)
