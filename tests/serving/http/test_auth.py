"""Keys: who may ask for scores."""

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from serving.http.auth import ApiKeys
from serving.http.limits import LoadShedding
from serving.scoring.admission import CLIENT, Admission
from serving.settings import Settings, SettingsError
from tests.serving.http.asgi import ask, scored

pytestmark = pytest.mark.anyio
FIRST, SECOND = "first-key-of-many-letters", "second-key/of.many~letters=="
GUARDED = ApiKeys(scored, [FIRST, SECOND])


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/explain"])
async def test_each_key_is_accepted_and_nothing_else(path: str) -> None:
    """The scheme's case does not matter; without a valid key the answer is a 401 with a challenge."""
    missing, invalid = 'Bearer realm="miles"', 'Bearer realm="miles", error="invalid_token"'
    table = [
        *[(header, None) for header in (f"Bearer {FIRST}", f"bearer {SECOND}", f"Bearer  {FIRST}")],
        *[(header, missing) for header in (None, "", "Bearer", f"Basic {FIRST}", FIRST)],
        ("Bearer nobody", invalid),
        (f"Bearer {FIRST[:-1]}", invalid),
        (f"Bearer {FIRST}x", invalid),
        (f"Bearer {FIRST},{SECOND}", invalid),
        (f"Bearer {FIRST.upper()}", invalid),
    ]
    failures = []
    for header, challenge in table:
        answer = await ask(GUARDED, path, headers={} if header is None else {"Authorization": header})
        found = (answer.status_code, answer.headers.get("www-authenticate"), FIRST in answer.text)
        if found != (200 if challenge is None else 401, challenge, False):
            failures.append((header, found))
        elif challenge and answer.headers["content-type"] != "application/problem+json":
            failures.append((header, answer.headers["content-type"]))
    assert failures == []


async def test_a_look_up_on_youtube_needs_a_key() -> None:
    """A look-up spends the operator's quota."""
    assert (await ask(GUARDED, "/youtube/aAbBcCdD-_1", "GET")).status_code == 401


async def test_two_headers_are_not_one_key() -> None:
    """Two Authorization headers are refused, whatever they hold: a proxy may have checked the other one."""
    headers = [("Authorization", f"Bearer {FIRST}"), ("Authorization", "Bearer nobody")]
    assert (await ask(GUARDED, headers=headers)).status_code == 401  # type: ignore[arg-type]


async def test_a_key_is_one_client_and_two_are_two() -> None:
    """Whatever the address: the queue is shared by key; the rate limit before it is by address."""
    clients: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(CLIENT.get())
        await scored(scope, receive, send)

    shared = LoadShedding(note, Admission(10, CollectorRegistry()))
    guarded = ApiKeys(shared, [FIRST, SECOND])
    for address, key in (("1.1.1.1", FIRST), ("2.2.2.2", FIRST), ("1.1.1.1", SECOND)):
        CLIENT.set(address)
        await ask(guarded, headers={"Authorization": f"Bearer {key}"})
    CLIENT.set("1.1.1.1")
    await ask(shared)
    assert clients[0] == clients[1] != clients[2]
    assert clients[3] == "1.1.1.1"


async def test_health_and_the_like_stay_open() -> None:
    """Only scoring and reloading need a key."""
    opened = ["GET /", "GET /metrics", "GET /health/ready", "GET /model/info", "OPTIONS /predict"]
    statuses = {name: (await ask(GUARDED, name.split()[1], name.split()[0])).status_code for name in opened}
    assert statuses == dict.fromkeys(opened, 200)


@pytest.mark.parametrize("keys", ["short", "has a space in the middle", "ümlaut-in-a-key-of-many"])
def test_key_that_no_header_can_carry_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, keys: str
) -> None:
    """A key that is too short, or invalid by RFC 6750, ends the process without being printed."""
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
