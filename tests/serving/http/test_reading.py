"""How requests are read: the same video in other words, unknown names, and errors."""

from typing import Any

import httpx

VIDEO = {
    "title": "I built a tiny house in 24 hours",
    "view_count": 120_000,
    "like_count": 9000,
    "comment_count": 850,
    "duration_seconds": 90,
    "published_at": "2026-03-01T12:00:00Z",
    "observed_at": "2026-03-02T12:00:00Z",
}
LOOK = {"previous_view_count": 90_000, "previous_observed_at": "2026-03-02T02:00:00Z"}
# Changes to VIDEO that leave it the same video; ... omits a field.
SAME: list[dict[str, Any]] = [
    {"view_count": "120,000", "like_count": "9000.0", "comment_count": "8.5E+02"},
    {"view_count": "١٢٠٠٠٠"},
    {"published_at": None, "upload_date": "2026-03-01 12:00:00+00"},
    {"published_at": "", "upload_date": "2026-03-01T12:00:00Z"},
    {"published_at": ..., "upload_date": "2026-03-01T14:00:00+02:00"},
    {"upload_date": "2020-01-01"},
    {"published_at": 1772366400},
    {"published_at": "1772366400000"},
    {"observed_at": None, "scraped_at": "2026-03-02T12:00:00.000Z"},
    {"duration_seconds": "PT1M30S"},
    {"duration_seconds": None, "duration": "00:01:30"},
    {"duration_seconds": ..., "duration": 90},
    {"thumbnail_url": None, "thumbnail": " "},
    {"thumbnail": {"url": "https://example.com/a.jpg"}},
    {"previous_view_count": None, "previous_observed_at": ""},
]
UNKNOWN: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"view_count": 0, "like_count": 0, "comment_count": 0, "duration_seconds": 0}, []),
    ({"like_count": None}, ["like_count"]),
    ({"like_count": ""}, ["like_count"]),
    ({"comment_count": ...}, ["comment_count"]),
    ({"view_count": " "}, ["view_count"]),
    ({"duration_seconds": "P0D"}, ["duration_seconds"]),
    ({"published_at": None, "upload_date": None}, ["published_at"]),
    ({"published_at": "2026-03-01"}, ["published_at"]),
]
# Fields added to VIDEO, or replacing its own, and what a warning says.
NEAR: list[tuple[dict[str, Any], str | None]] = [
    ({"view_count": ..., "viewCount": 5}, "viewCount (send view_count)"),
    ({"view_count": None, "views": 5}, "views (send view_count)"),
    ({"view_count": ..., "playCount": 5}, "playCount (send view_count)"),
    ({"view_count": ..., "VIEWCOUNT": 5}, "VIEWCOUNT (send view_count)"),
    ({"like_count": ..., "likes": 5}, "likes (send like_count)"),
    ({"comment_count": ..., "num_comments": 5}, "num_comments (send comment_count)"),
    ({"published_at": ..., "publishedAt": "2026"}, "publishedAt (send published_at)"),
    ({"published_at": ..., "timestamp": 1772366400}, "timestamp (send published_at)"),
    ({"duration_seconds": ..., "lengthSeconds": 9}, "lengthSeconds (send duration_seconds)"),
    ({"thumbnailUrl": "https://example.com/a.jpg"}, "thumbnailUrl (send thumbnail_url)"),
    ({"view_count": ..., "view_cuont": 5}, "view_cuont (send view_count)"),
    ({"like_count": ..., "lik_count": 5}, "lik_count (send like_count)"),
    ({"view_count": ..., "viewer_count": 5, "tags": "x"}, None),
    ({"prevViewCount": 5}, "prevViewCount (send previous_view_count)"),
    ({"like_count": ..., "statistics": {"likeCount": "5"}}, "statistics (send like_count)"),
    ({"view_count": ..., "stats": {"playCount": 5}}, "stats (send view_count)"),
    ({"published_at": ..., "snippet": {"title": "x"}}, "snippet (send description, published_at)"),
    ({"viewCount": 120_000, "likes": 9000, "timestamp": 1772366400}, None),  # our fields are there
    ({"like_count": ..., "dislike_count": 5, "likes": None}, None),
    ({"view_count": ..., "playcount": 5}, "playcount (send view_count)"),
    ({"comment_count": ..., "repliesCount": 5}, "repliesCount (send comment_count)"),
    ({"views_previous": 5}, "views_previous (send previous_view_count)"),
    ({"duration_seconds": ..., "durationSec": 9}, "durationSec (send duration_seconds)"),
    ({"image_url": "https://example.com/a.jpg"}, "image_url (send thumbnail_url)"),
    ({"like_count": ..., "like_rate": 0.1, "share_url": "https://example.com", "save_date": "x"}, None),
    ({"id": "8c0", "video_id": "a", "platform": "youtube", "channel_name": "c", "tags": ["a"]}, None),
    (
        {"created_at": "2026-03-02T12:00:00Z", "analyzed_at": None, "search_topic": "x", "published": True},
        None,
    ),
]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"view_count": "1.2K"}, "view_count", "expected a whole number in digits"),
    ({"like_count": -1}, "like_count", "expected a whole number in digits"),
    ({"comment_count": "N/A"}, "comment_count", "null if it is unknown"),
    ({"published_at": "01/03/2026"}, "published_at", "expected ISO 8601 such as 2026-03-01T12:00:00Z"),
    ({"published_at": "46082.5"}, "published_at", "expected ISO 8601"),
    ({"published_at": ..., "upload_date": 0}, "published_at", "expected ISO 8601"),
    ({"observed_at": "2026"}, "observed_at", "expected ISO 8601"),
    (
        {"duration_seconds": "long"},
        "duration_seconds",
        'expected seconds from 0 up, such as 90, or "PT1M30S"',
    ),
    ({"completion_rate": "62%"}, "completion_rate", "expected a number from 0 to 1"),
    (
        {"published_at": "2026-03-04T12:00:00Z"},
        "published_at",
        "more than a day after the video was observed",
    ),
    ({"observed_at": "2199-01-01"}, "observed_at", "more than a day in the future"),
    ({"previous_view_count": 5}, "previous_observed_at", "send both"),
    ({"previous_observed_at": "2026-03-01T12:00:00Z"}, "previous_view_count", "send both"),
    (
        {**LOOK, "previous_observed_at": "2026-02-28T11:00:00Z"},
        "previous_observed_at",
        "more than a day before the video was published",
    ),
    (
        {**LOOK, "previous_observed_at": VIDEO["observed_at"]},
        "previous_observed_at",
        "an hour or more before",
    ),
    ({"title": ...}, "title", "is required"),
    ({"title": ..., "headline": "x"}, "title", "is required; headline is not read, send title"),
    ({"title": ..., "Titel": "x"}, "title", "is required; Titel is not read, send title"),
    ({"title": ..., "snippet": {"title": "x"}}, "title", "is required; snippet is not read, send title"),
    ({"title": None}, "title", "expected text"),
    ({"title": ""}, "title", "is empty"),
    ({"title": "x" * 10_001}, "title", "too many characters, expected at most 10000"),
    ({"description": 5}, "description", "expected text"),
    ({"thumbnail_url": 5}, "thumbnail_url", "expected text"),
    ({"require": ["sound"]}, "require.0", "expected 'text', 'image' or 'scalars'"),
    ({"require": "image"}, "require", "expected a list"),
    ({"require": ["image"] * 9}, "require", "has more than 8 items"),
    ({"explain": "maybe"}, "explain", "expected true or false"),
]


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """VIDEO with changes; ... omits a field."""
    return {name: value for name, value in {**VIDEO, **changes}.items() if value is not ...}


def answers(client: httpx.Client, videos: list[dict[str, Any]]) -> list[dict[str, Any]]:
    response = client.post("/predict/batch", json={"videos": videos})
    assert response.status_code == 200, response.text
    entries: list[dict[str, Any]] = response.json()["predictions"]
    return entries


def test_the_same_video_in_other_words_has_the_same_score(client: httpx.Client) -> None:
    """Numbers and times as other programs write them, and a field's other names."""
    first, *others = answers(client, [VIDEO, *map(changed, SAME)])
    failures = [
        (changes, found)
        for changes, found in zip(SAME, others, strict=True)
        if found.get("viral_score") != first["viral_score"]
    ]
    assert failures == []


def test_unknown_fields_are_listed(client: httpx.Client) -> None:
    """Absent, null and blank are unknown, 0 is known, and a date alone is too coarse for a young video."""
    found = answers(client, [changed(changes) for changes, _ in UNKNOWN])
    lists = [each["modalities"]["scalars"]["imputed"] for each in found]
    failures = [(row, names) for row, names in zip(UNKNOWN, lists, strict=True) if names != row[1]]
    assert failures == []


def test_names_that_look_like_fields_are_warned_about(client: httpx.Client) -> None:
    """A name that is not read is reported with the field to send, unless that field is there."""
    failures = []
    for (changes, expected), found in zip(
        NEAR, answers(client, [changed(row[0]) for row in NEAR]), strict=True
    ):
        said = [warning for warning in found["warnings"] if warning.startswith("Names that are not read")]
        if said != ([f"Names that are not read: {expected}."] if expected else []):
            failures.append((changes, said))
    assert failures == []


def test_refusals_name_the_field_and_the_form(client: httpx.Client) -> None:
    """In a single request as in a batch, in our own words."""
    failures = []
    entries = answers(client, [changed(changes) for changes, _, _ in REFUSED])
    for (changes, field, message), entry in zip(REFUSED, entries, strict=True):
        response = client.post("/predict", json=changed(changes))
        for problem in (response.json(), entry["error"]):
            error = problem["errors"][0]
            if response.status_code != 422 or error["field"] != field or message not in error["message"]:
                failures.append((changes, error))
    assert failures == []


def test_a_variation_is_read_like_a_request(client: httpx.Client) -> None:
    """`what_if` takes every form and every name of a field, and null makes a known value unknown."""
    changes = [
        {"view_count": "120,000"},
        {"upload_date": "2026-03-01 12:00:00+00"},
        {"like_count": None},
        LOOK,
    ]
    response = client.post("/explain", json={**VIDEO, "what_if": [*changes, {"previous_view_count": 5}]})
    answer = response.json()
    same, renamed, unknown, looked, half = answer["what_if"]
    assert same["prediction"]["viral_score"] == renamed["prediction"]["viral_score"] == answer["viral_score"]
    assert unknown["prediction"]["modalities"]["scalars"]["imputed"] == ["like_count"]
    assert looked["prediction"]["modalities"]["scalars"]["imputed"] == []
    assert half["error"]["errors"][0]["field"] == "previous_observed_at"


def test_a_title_without_visible_characters_is_missing(client: httpx.Client) -> None:
    """White space and zero-width characters are not text; a caption of 10,000 characters is truncated."""
    titles = ("   ", "\u200b\u200d", "word " * 2000)
    found = [
        each["modalities"]["text"] for each in answers(client, [changed({"title": each}) for each in titles])
    ]
    assert [each["state"] for each in found] == ["missing", "missing", "truncated"]
    assert found[0]["reason"] == "no_visible_text"
    required = client.post("/predict", json=changed({"title": " ", "require": ["text"]}))
    assert required.status_code == 422


def test_a_title_has_one_normal_form(client: httpx.Client) -> None:
    """A decomposed title has the length and the score of the composed one."""
    composed, decomposed = answers(client, [changed({"title": each}) for each in ("caf\u00e9", "cafe\u0301")])
    assert composed["viral_score"] == decomposed["viral_score"]


def test_a_thumbnails_url_is_not_normalised(client: httpx.Client) -> None:
    """A path in another normal form names another file, and a host with a Kelvin sign is invalid."""
    urls = ("https://10.0.0.1/cafe\u0301.jpg", "https://\u212aelvin.com/a.jpg", "\u00a0ftp://a.example/")
    images = [
        client.post("/predict", json={"title": "a", "thumbnail_url": url}).json()["modalities"]["image"]
        for url in urls
    ]
    assert [image["reason"] for image in images] == ["forbidden", "bad_url", "forbidden"]
