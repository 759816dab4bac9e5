"""Feature groups: every feature has its part in an explanation, once."""

from collections import Counter

import pytest

from features import MILES_V0, MILES_V1, REGISTRY, UnknownFeatureError
from features.groups import GROUPS, groups_of


def test_every_feature_is_in_one_group():
    """Each registered feature is in exactly one group, and no group names one that is not registered."""
    counts = Counter(name for group in GROUPS for name in group.features)
    assert counts == Counter(dict.fromkeys(REGISTRY, 1))


@pytest.mark.parametrize("names", [MILES_V0, MILES_V1])
def test_every_column_is_in_one_group(names):
    """The groups of a list of features share its columns out, none twice."""
    columns = [column for _, indices in groups_of(names) for column in indices]
    assert sorted(columns) == list(range(len(names)))


def test_groups_without_a_column_are_left_out():
    """Of a shorter list only the groups that it has are there, with their columns in its order."""
    found = {group.name: columns for group, columns in groups_of(("like_rate", "log_view_count"))}
    assert found == {"size": [1], "reaction": [0]}


def test_a_feature_without_a_group_is_named():
    """A feature that nobody gave a group is an error that names it and the file."""
    with pytest.raises(UnknownFeatureError, match=r"tempo: in no group.*features/groups\.py"):
        groups_of(("log_view_count", "tempo"))
