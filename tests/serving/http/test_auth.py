"""Keys: who may ask for scores."""

import pytest

from serving.http.auth import ApiKeys
from serving.settings import Settings, SettingsError
from tests.serving.http.asgi import ask, scored

pytestmark = pytest.mark.anyio
FIRST, SECOND = "first-key-of-many-letters", "second-key/of.many~letters=="
GUARDED = ApiKeys(scored, [FIRST, SECOND])


@pytest.mark.parametrize("header", [f"Bearer {FIRST}", f"bearer {SECOND}", f"Bearer  {FIRST}"])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_each_key_opens_the_door(header: str, path: str) -> None:
    """Any of the keys lets a scoring request pass; the scheme's case does not matter."""
    assert (await ask(GUARDED, path, headers={"Authorization": header})).status_code == 200


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        (None, 'Bearer realm="miles"'),
        ("", 'Bearer realm="miles"'),
        ("Bearer", 'Bearer realm="miles"'),
        (f"Basic {FIRST}", 'Bearer realm="miles"'),
        (FIRST, 'Bearer realm="miles"'),
        ("Bearer nobody", 'Bearer realm="miles", error="invalid_token"'),
        (f"Bearer {FIRST[:-1]}", 'Bearer realm="miles", error="invalid_token"'),
        (f"Bearer {FIRST}x", 'Bearer realm="miles", error="invalid_token"'),
        (f"Bearer {FIRST},{SECOND}", 'Bearer realm="miles", error="invalid_token"'),
        (f"Bearer {FIRST.upper()}", 'Bearer realm="miles", error="invalid_token"'),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_anything_else_is_401_with_a_challenge(header: str | None, challenge: str, path: str) -> None:
    """No key, another scheme or another key: a problem that says which scheme is wanted."""
    answer = await ask(GUARDED, path, headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == challenge
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401
    assert FIRST not in answer.text


async def test_two_headers_are_not_one_key() -> None:
    """Two Authorization headers are refused, whatever they hold: a proxy may have judged the other one."""
    headers = [("Authorization", f"Bearer {FIRST}"), ("Authorization", "Bearer nobody")]
    assert (await ask(GUARDED, headers=headers)).status_code == 401  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/health/ready"),
        ("GET", "/model/info"),
        ("OPTIONS", "/predict"),
    ],
)
async def test_health_and_the_like_stay_open(method: str, path: str) -> None:
    """Keys are for scores alone."""
    assert (await ask(GUARDED, path, method)).status_code == 200


@pytest.mark.parametrize("keys", ["short", "has a space in the middle", "ümlaut-in-a-key-of-many"])
def test_key_that_no_header_can_carry_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    """A key that is too short, or is none by RFC 6750, ends the process without being printed."""
    monkeypatch.setenv("MILES_API_KEYS", f"{FIRST},{keys}")
    with pytest.raises(SettingsError, match="MILES_API_KEYS") as error:
        Settings.from_environment()
    assert keys not in str(error.value)
    assert FIRST not in str(error.value)


def test_keys_are_not_shown_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are printed or logged do not show the keys."""
    monkeypatch.setenv("MILES_API_KEYS", f"{FIRST}, {SECOND}")
    settings = Settings.from_environment()
    assert [key.get_secret_value() for key in settings.api_keys] == [FIRST, SECOND]
    assert FIRST not in repr(settings)
