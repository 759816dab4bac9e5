"""POST /predict over real HTTP."""

import base64
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.pictures import encoded, picture
from tests.support.thumbnail_host import ThumbnailHost

ANSWER_KEYS = {
    *("viral_score", "predicted_velocity", "velocity_interval", "in_range", "confidence"),
    *("processing_time_ms", "model_version", "modalities", "warnings"),
}


def score(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"title": "How do planes stay up?", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_answer_has_every_key_in_its_range(client: httpx.Client) -> None:
    """A video like those in training gets all documented keys, each in its documented range."""
    answer = score(client, view_count=5000, like_count=300, comment_count=30)
    assert answer.keys() == ANSWER_KEYS
    assert answer["in_range"]
    assert 0 <= answer["viral_score"] <= 1
    assert answer["predicted_velocity"] >= 0
    assert answer["confidence"] == pytest.approx(
        max(answer["viral_score"], 1 - answer["viral_score"]), abs=1e-6
    )
    assert isinstance(answer["processing_time_ms"], int)
    sha256 = client.get("/model/info").json()["checkpoint"]["sha256"]
    assert answer["model_version"] == f"miles-v1.0+{sha256[:8]}"


def test_a_video_beyond_the_training_data_has_no_confidence(client: httpx.Client) -> None:
    """More views than any training video: a score and a warning, but no confidence."""
    answer = score(client, view_count=10**12)
    assert not answer["in_range"]
    assert answer["confidence"] is None
    assert any(
        "view count, 1 trillion, is above all of the training data" in each for each in answer["warnings"]
    )


def test_same_request_gets_same_score(client: httpx.Client) -> None:
    """A video with a known observation time scores the same each time."""
    video = {
        "view_count": 5000,
        "published_at": "2026-01-01T00:00:00Z",
        "observed_at": "2026-01-02T00:00:00Z",
    }
    first, second = score(client, **video), score(client, **video)
    assert first["viral_score"] == second["viral_score"]
    assert first["predicted_velocity"] == second["predicted_velocity"]


def test_database_row_is_accepted(client: httpx.Client) -> None:
    """A whole database row with nulls, its own names for the times and unknown columns is scored."""
    row = {
        "id": "5c0a4e0e-6b1f-4f8e-9a3e-1d0a3c1f2b4d",
        "description": None,
        "thumbnail_url": None,
        "view_count": None,
        "like_count": None,
        "comment_count": None,
        "duration_seconds": None,
        "upload_date": "2026-01-01 08:00:00+00:00",
        "scraped_at": "2026-01-02T08:00:00.123456+00:00",
        "miles_score": None,
        "tags": ["a"],
        "require": None,
    }
    assert score(client, **row)["modalities"]["scalars"] == {
        "state": "imputed",
        "reason": "view_count, like_count, comment_count, duration_seconds",
        "imputed": ["view_count", "like_count", "comment_count", "duration_seconds"],
    }


def test_null_is_unknown_and_not_zero(client: httpx.Client) -> None:
    """A null count scores like an absent one, and not like 0."""
    counts = ("view_count", "like_count", "comment_count")
    moments = {"published_at": "2026-01-01", "observed_at": "2026-01-02"}
    null, absent, zero = (
        score(client, **given, **moments)["viral_score"]
        for given in (dict.fromkeys(counts), {}, dict.fromkeys(counts, 0))
    )
    assert null == absent != zero


def test_long_text_is_truncated_and_reported(client: httpx.Client) -> None:
    """A description beyond 128 tokens is used in part, and the answer says so."""
    answer = score(client, description="words " * 400)
    assert answer["modalities"]["text"]["state"] == "truncated"
    assert answer["modalities"]["text"]["reason"].startswith("first 128 of ")


def test_good_thumbnail_is_used_and_moves_the_score(client: httpx.Client, host: ThumbnailHost) -> None:
    """A real JPEG over HTTP is used, and two different ones score differently."""
    first = score(client, thumbnail_url=host.thumbnail(1))
    second = score(client, thumbnail_url=host.thumbnail(2))
    assert first["modalities"]["image"] == {"state": "used", "reason": None}
    assert first["viral_score"] != second["viral_score"]


@pytest.mark.parametrize("url", [None, "", "   "])
def test_absent_thumbnail_is_missing(client: httpx.Client, url: str | None) -> None:
    """null, empty and blank all mean: no thumbnail."""
    assert score(client, thumbnail_url=url)["modalities"]["image"] == {
        "state": "missing",
        "reason": "no_thumbnail",
    }


def test_bad_thumbnail_is_failed_with_its_reason(client: httpx.Client, host: ThumbnailHost) -> None:
    """Without a usable thumbnail the neutral image is scored, and the answer says why."""
    neutral = score(client, observed_at="2026-01-01")["viral_score"]
    expected = {
        "/missing.jpg": ("http_404", "answered 404"),
        "/page.html": ("unsupported_format", "an HTML page, expected JPEG"),
        "/huge.jpg": ("too_large", "the limit is"),
        "/slow.jpg": ("timeout", "did not send a complete response"),
    }
    for path, (reason, detail) in expected.items():
        answer = score(client, thumbnail_url=host.url + path, observed_at="2026-01-01")
        image = answer["modalities"]["image"]
        assert (image["state"], image["reason"]) == ("failed", reason)
        assert detail in image["detail"]
        assert any(image["detail"] in warning for warning in answer["warnings"])
        assert answer["viral_score"] == neutral


def test_a_picture_that_shows_nothing_does_not_satisfy_require(client: httpx.Client) -> None:
    """A placeholder is scored with a warning; if the image is required, the request is refused."""
    pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    answer = score(client, thumbnail_url=pixel)
    image = answer["modalities"]["image"]
    assert (image["state"], image["reason"], image["detail"] in answer["warnings"]) == ("used", "tiny", True)
    response = client.post("/predict", json={"title": "x", "thumbnail_url": pixel, "require": ["image"]})
    assert response.status_code == 422
    assert "image (used: tiny: The thumbnail is tiny (1x1 pixels" in response.json()["detail"]


def test_an_older_checkpoint_says_what_it_ignores_of_a_picture(client: httpx.Client) -> None:
    """It reads pixels as it did in training."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(picture(), "JPEG", exif=exif)
    answer = score(client, thumbnail_url="data:image/jpeg;base64," + base64.b64encode(turned).decode())
    assert answer["modalities"]["image"] == {"state": "used", "reason": None}
    text = "The thumbnail was read as this checkpoint was trained to: its EXIF orientation was ignored."
    assert text in answer["warnings"]


def test_a_row_of_yt_dlp_has_its_thumbnail(client: httpx.Client, host: ThumbnailHost) -> None:
    """`thumbnail` is another name for thumbnail_url."""
    assert score(client, thumbnail=host.thumbnail(1))["modalities"]["image"]["state"] == "used"


def test_required_image_that_fails_is_422(client: httpx.Client, host: ThumbnailHost) -> None:
    """`require: ["image"]` turns a failed thumbnail into a problem that names state and reason."""
    body = {"title": "x", "thumbnail_url": host.url + "/missing.jpg", "require": ["image"]}
    response = client.post("/predict", json=body)
    assert response.status_code == 422
    assert (
        "Required modality unavailable: image (failed: http_404: 127.0.0.1 answered 404"
        in response.json()["detail"]
    )


def test_required_image_that_is_there_is_scored(client: httpx.Client, host: ThumbnailHost) -> None:
    assert (
        score(client, thumbnail_url=host.thumbnail(), require=["image"])["modalities"]["image"]["state"]
        == "used"
    )


def test_required_scalars_that_are_imputed_are_422(client: httpx.Client) -> None:
    """A client that requires the scalars gets no score with an imputed age."""
    response = client.post("/predict", json={"title": "x", "require": ["scalars"]})
    assert response.status_code == 422
    assert "published_at" in response.json()["detail"]


def test_fields_of_another_list_change_no_score_and_are_named(client: httpx.Client) -> None:
    """A checkpoint that does not read shares, saves, completion and creator warns about them."""
    unread = {"share_count": 5, "save_count": 2, "completion_rate": 0.5, "creator_avg_views": 900.5}
    plain, with_them = score(client), score(client, **unread)
    for key in ("viral_score", "predicted_velocity", "modalities"):
        assert with_them[key] == plain[key]
    (warning,) = [each for each in with_them["warnings"] if each not in plain["warnings"]]
    *others, last = unread
    assert warning.startswith(f"This checkpoint ignores {', '.join(others)} and {last};")
    assert score(client, **dict.fromkeys(unread))["warnings"] == plain["warnings"]
