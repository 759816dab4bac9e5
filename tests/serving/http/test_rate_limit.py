"""The rate limit, on a clock that the test sets, and which client it counts."""

from ipaddress import ip_network

import pytest
from prometheus_client import CollectorRegistry

from serving.errors import RateLimitedError
from serving.http.middleware import client_of
from serving.http.rate_limit import Allowance, RateLimit, RateLimiter
from serving.scoring.admission import CLIENT
from tests.serving.http.asgi import ask, scored


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter_of(clock: Clock, per_minute: int = 60, max_clients: int = 100) -> RateLimiter:
    """A limiter on that clock."""
    return RateLimiter(per_minute, CollectorRegistry(), clock, max_clients)


def test_whole_minute_may_come_at_once() -> None:
    """A client may use its minute at once, and then gets videos only as it earns them back."""
    clock = Clock()
    limiter = limiter_of(clock)
    assert limiter.take("a", 256) == 60
    assert limiter.take("a", 1) == 0
    clock.now += 1
    assert limiter.take("a", 5) == 1
    clock.now += 59.999
    assert limiter.take("a", 256) == 59
    clock.now += 1000
    assert limiter.left("a") == 60


def test_steady_client_within_its_limit_is_never_refused() -> None:
    """One video a second for ten minutes stays within sixty a minute."""
    clock = Clock()
    limiter = limiter_of(clock)
    for _ in range(600):
        assert limiter.take("a", 1) == 1
        clock.now += 1


@pytest.mark.parametrize("per_minute", [1, 7, 60, 10_000])
def test_no_minute_holds_more_than_twice_the_limit(per_minute: int) -> None:
    """No client gets more in a minute than what it had saved and what it earned in that minute."""
    clock = Clock()
    limiter = limiter_of(clock, per_minute)
    taken = 0
    for _ in range(600):
        taken += limiter.take("a", per_minute)
        clock.now += 0.1
    assert taken <= 2 * per_minute


def test_clients_do_not_share() -> None:
    limiter = limiter_of(Clock(), 3)
    assert limiter.take("a", 9) == 3
    assert limiter.take("b", 2) == 2


def test_wait_is_until_one_more() -> None:
    """The refusal says when the next video is within the limit: at that time it is, and not before."""
    clock = Clock()
    limiter = limiter_of(clock, 6)  # one each ten seconds
    limiter.take("a", 6)
    wait_s = limiter.refuse("a").retry_after_s
    assert wait_s == 10
    clock.now += wait_s - 0.5
    assert limiter.take("a", 1) == 0
    clock.now += 0.5
    assert limiter.take("a", 1) == 1


def test_clients_are_forgotten_the_oldest_first() -> None:
    """Memory is bounded: the client that has not asked for longest is forgotten."""
    limiter = limiter_of(Clock(), 1, max_clients=3)
    for client in ("a", "b", "c", "d"):
        assert limiter.take(client, 1) == 1
    assert [limiter.left(client) for client in ("a", "b", "c", "d")] == [1, 0, 0, 0]


@pytest.mark.anyio
async def test_answers_tell_what_is_left_and_429_when_nothing_is() -> None:
    """Every answer about scores carries both fields; the first over the limit is a 429 with Retry-After."""
    app = RateLimit(scored, limiter_of(Clock(), 2))
    first, second, third = [await ask(app) for _ in range(3)]
    assert first.headers["ratelimit-policy"] == '"videos";q=2;w=60'
    assert [answer.headers["ratelimit"] for answer in (first, second, third)] == [
        '"videos";r=1;t=30',
        '"videos";r=0;t=60',
        '"videos";r=0;t=60',
    ]
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 429]
    assert third.headers["retry-after"] == "30"
    assert third.json()["type"] == "urn:miles:problem:rate-limited"
    assert third.headers["content-type"] == "application/problem+json"
    assert (await ask(app, "/", "GET")).status_code == 200
    CLIENT.set("203.0.113.8")
    assert (await ask(app)).status_code == 200


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def client(peer: str | None, *forwarded: str, trusted: bool = True) -> str:
    """The client of a request from `peer` with these X-Forwarded-For headers."""
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in forwarded]
    scope = {"client": peer and (peer, 40_000), "headers": [(b"host", b"9.9.9.9"), *headers]}
    return client_of(scope, PROXIES if trusted else [])


def test_client_is_the_first_hop_from_the_right_that_is_not_a_trusted_proxy() -> None:
    """Hops further left could be forged; a proxy that writes an unreadable hop counts as the client."""
    table = [
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7", "10.9.9.9"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7:1234"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8::1]:1234"], "2001:db8::"),
        ("fd00::1", ["2001:db8:0:0:ffff::1"], "2001:db8::"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # all hops are trusted
        *[
            ("10.0.0.1", [line], "10.0.0.1")
            for line in ("unknown", "", "1.1.1.1, garbage", "1.1.1.1,", "\xff\xfe", "_hidden, for=1.1.1.1")
        ],
        ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),  # a peer that is not trusted, this machine included
        ("127.0.0.1", ["10.0.0.1"], "127.0.0.1"),
        (None, [], "unknown"),
        ("testclient", [], "unknown"),
    ]
    failures = [row for row in table if client(row[0], *row[1]) != row[2]]
    assert failures == []
    assert client("10.0.0.1", "203.0.113.7", trusted=False) == "10.0.0.1"


def test_addresses_of_one_subscriber_are_one_client() -> None:
    """IPv6 clients are counted by their /64."""
    assert client("2001:db8:1:2::1") == client("2001:db8:1:2:ffff:ffff:ffff:ffff") == "2001:db8:1:2::"
    assert client("2001:db8:1:2::1") != client("2001:db8:1:3::1")


def test_a_client_that_waits_as_told_gets_its_explanation() -> None:
    """A refused explanation takes nothing, and says how long the whole next request has to wait."""
    clock = Clock()
    limiter = limiter_of(clock, per_minute=12)
    allowance = Allowance(limiter, "a")
    limiter.take("a", 11)
    limiter.take("a", 1)
    with pytest.raises(RateLimitedError) as refused:
        allowance.take_explanation()
    assert refused.value.retry_after_s == 20
    clock.now += 20
    assert limiter.take("a", 1) == 1
    allowance.take_explanation()
