"""The videos of a benchmark's requests."""

import json
import statistics
from pathlib import Path

from benchmarks.harness.workload import KNOWN_VIDEOS, MEDIAN_TITLE, Workload, write_bodies
from features.video import age_hours
from preprocessing.text import BertTextTokenizer
from serving.http.requests import PredictRequest


def test_titles_are_as_long_as_real_ones() -> None:
    """13 tokens at the median, 23 at most."""
    tokenizer = BertTextTokenizer.from_vocabulary()
    lengths = [len(tokenizer.encode(video["title"])) for video in Workload("").new_videos(200)]
    assert statistics.median(lengths) == MEDIAN_TITLE
    assert max(lengths) == 23


def test_new_videos_share_neither_title_nor_picture() -> None:
    """So no cache can hit."""
    workload = Workload("")
    videos = workload.new_videos(500) + workload.new_videos(500)
    for field in ("title", "thumbnail_url"):
        assert len({video[field] for video in videos}) == 1000


def test_known_videos_come_again_with_new_counts() -> None:
    """Titles and pictures repeat; counts do not."""
    workload = Workload("")
    known = workload.known_videos()
    again = workload.rescored(known, 3 * KNOWN_VIDEOS)
    assert {video["title"] for video in again} == {video["title"] for video in known}
    assert len({video["view_count"] for video in again}) > 2 * KNOWN_VIDEOS


def test_every_video_is_a_valid_request() -> None:
    for video in Workload("http://127.0.0.1:1").new_videos(50):
        domain = PredictRequest.model_validate(video).to_domain()
        assert age_hours(domain.video) is not None


def test_bodies_may_be_lists_of_one(tmp_path: Path) -> None:
    """A server that takes batches gets the same video in a list."""
    videos = Workload("").new_videos(2)
    plain = write_bodies(tmp_path / "plain", videos).read_text().splitlines()
    listed = write_bodies(tmp_path / "listed", videos, in_a_list=True).read_text().splitlines()
    assert [json.loads(line) for line in plain] == videos
    assert [json.loads(line) for line in listed] == [[video] for video in videos]
