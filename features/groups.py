"""The groups of features that share one part of an explanation: what a person would change together.

Views per hour belong to the age although they hold the views too: beside the views, the age is what they add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from features.registry import UnknownFeatureError


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """A group's name for programs, its label for people, and the features of all lists that are in it."""

    name: str
    label: str
    features: tuple[str, ...]


GROUPS = (
    FeatureGroup("size", "Views so far", ("log_view_count", "views")),
    FeatureGroup(
        "reaction",
        "Likes, comments and shares",
        (
            *("log_like_count", "log_comment_count", "likes", "comments", "shares", "saves"),
            *("engagement_rate", "like_rate", "comment_rate", "comment_ratio", "share_rate", "save_rate"),
        ),
    ),
    FeatureGroup("age", "When it went up", ("log_age_hours", "log_views_per_hour", "age_known")),
    FeatureGroup("schedule", "Weekday and hour", ("upload_hour", "is_weekend", "publish_dayofweek")),
    FeatureGroup("duration", "Length of the video", ("log_duration_seconds", "duration_sec", "is_short")),
    FeatureGroup("watching", "How much of it is watched", ("completion_rate",)),
    FeatureGroup("creator", "The creator's other videos", ("creator_avg_views",)),
    FeatureGroup(
        "title_form",
        "Form of the title",
        (
            *("title_length", "title_word_count", "has_numbers", "has_question", "has_exclamation"),
            "has_emoji",
        ),
    ),
    FeatureGroup(
        "description_form", "Form of the description", ("description_word_count", "has_description")
    ),
)


def groups_of(names: Sequence[str]) -> list[tuple[FeatureGroup, list[int]]]:
    """The groups that are present in a list of features, each with its columns; every column is in one.

    Raises `UnknownFeatureError` for a name that is in no group.
    """
    grouped = {name for group in GROUPS for name in group.features}
    strangers = [name for name in names if name not in grouped]
    if strangers:
        raise UnknownFeatureError(
            f"{', '.join(strangers)}: in no group of features; add it to features/groups.py"
        )
    columns = {
        group: [index for index, name in enumerate(names) if name in group.features] for group in GROUPS
    }
    return [(group, indices) for group, indices in columns.items() if indices]
