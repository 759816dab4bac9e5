"""Rolling origins: nothing from the future is trained on, and the drawing has every origin."""

import json
from datetime import datetime, timedelta

import pytest

from tests.training.synthetic import FIRST, RECIPE, SEED, encoders, rows, write_csv
from training import backtest
from training.data.dataset import SPLITS, DatasetError, read_dataset
from training.data.rolling import windows_of
from training.measure.metrics import plain


@pytest.fixture(scope="module")
def spread(tmp_path_factory):
    """Twice the synthetic rows, published over months instead of weeks."""
    table = [*rows(), *({**row, "video_id": f"b-{row['video_id']}"} for row in rows(SEED + 1))]
    for row in table:
        published, observed = (datetime.fromisoformat(row[name]) for name in ("published_at", "observed_at"))
        shift = 9 * (published - FIRST)
        row.update(published_at=(published + shift).isoformat(), observed_at=(observed + shift).isoformat())
    return read_dataset(write_csv(tmp_path_factory.mktemp("data") / "rows.csv", table))


@pytest.fixture(scope="module")
def windows(spread):
    return windows_of(spread, 4)


def test_nothing_from_the_future_is_trained_on(windows):
    """Targets of train are read before val begins, those of val before the origin, and no video is shared."""
    for origin, found in windows:
        starts = {name: min(video.observed_at for video in found.split(name).videos) for name in SPLITS}
        ends = {name: max(video.observed_at for video in found.split(name).videos) for name in SPLITS}
        assert ends["train"] + timedelta(hours=24) <= starts["val"]
        assert ends["val"] + timedelta(hours=24) <= origin <= starts["test"]
        ids = [set(found.split(name).video_ids) for name in SPLITS]
        assert sum(map(len, ids)) == len(set.union(*ids))


def test_every_later_video_is_tested_once(spread, windows):
    tested = [video_id for _, found in windows for video_id in set(found.test.video_ids)]
    assert len(tested) == len(set(tested))
    first = {}
    for split in map(spread.split, SPLITS):
        for video_id, video in zip(split.video_ids, split.videos, strict=True):
            first[video_id] = min(video.observed_at, first.get(video_id, video.observed_at))
    assert set(tested) == {video_id for video_id, moment in first.items() if moment >= windows[0][0]}


def test_viral_means_the_same_at_every_origin(windows):
    """The threshold is that of the first origin's train rows."""
    assert len({found.viral_threshold for _, found in windows}) == 1


def test_rows_without_a_time_are_refused(tmp_path):
    table = [{name: value for name, value in row.items() if not name.endswith("_at")} for row in rows()]
    with pytest.raises(DatasetError, match="has rows without observed_at"):
        windows_of(read_dataset(write_csv(tmp_path / "rows.csv", table)), 4)


def test_both_heads_are_measured_at_every_origin(spread):
    """At the first they are the same head; later ones differ, and the drawing has a line for each."""
    found = backtest.backtest(spread, encoders(), RECIPE, SEED, 4)
    assert len(found) == 4
    refitted, first = (
        [window.figures[head]["counts and age"]["mae"].difference for window in found]
        for head in (backtest.REFITTED, backtest.FIRST)
    )
    assert refitted[0] == first[0]
    assert refitted[1:] != first[1:]
    axes = backtest.draw(found).axes
    assert [len(each.containers) for each in axes] == [2 * len(found[0].figures[backtest.FIRST])] * 2
    assert len(backtest.lines_of(found)) == 2 + 4 * 2 * len(found[0].figures[backtest.FIRST])
    assert json.loads(json.dumps(plain(found)))[0]["train_rows"] > 0
