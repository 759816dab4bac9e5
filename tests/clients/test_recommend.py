"""clients/supabase/functions/recommend under real Deno, with real Miles, PostgREST and PostgreSQL.

The language model is a local HTTP server that speaks both kinds of API.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy import stats

from deploy.demo.database import Database
from tests.clients.door import Door, open_door
from tests.clients.recommending import (
    DENO,
    FOLDER,
    HOSTILE,
    OTHER,
    USER,
    Function,
    deno,
    open_miles,
    open_supabase,
    rows,
)
from tests.support.node import install, node_environment
from tests.support.postgres import Candidates
from tests.support.postgrest import token
from tests.support.process import LIMIT_S, completed, free_port
from tests.support.service import Service
from tests.support.web import Asked, Reply, web_host


@dataclass
class Model:
    """What the language model is asked, and what it answers."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    reply: Reply | None = None
    ideas: list[str] = field(default_factory=list)
    refuses: str = ""
    """A request field that the model rejects."""

    def answer(self, asked: Asked) -> Reply | None:
        self.asked.append(asked)
        if self.refuses and self.refuses in json.loads(asked.body):
            return Reply(400, b'{"error": {"message": "Use \'max_completion_tokens\' instead."}}')
        if self.reply is not None:
            return self.reply
        text = "Here they are:\n" + json.dumps(self.ideas)
        openai = {"choices": [{"message": {"role": "assistant", "content": text}}]}
        anthropic = {"content": [{"type": "text", "text": text}]}
        body = openai if asked.path == "/v1/chat/completions" else anthropic
        return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def model() -> Iterator[Model]:
    found = Model()
    with web_host(found.answer) as url:
        found.url = f"{url}/v1"
        yield found


@pytest.fixture(scope="module")
def supabase(database: Database) -> Iterator[tuple[Candidates, Door]]:
    with open_supabase(database) as opened:
        yield opened


@pytest.fixture(scope="module")
def miles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with open_miles(tmp_path_factory.mktemp("miles")) as running:
        yield running


def with_model(model: Model, api: str) -> dict[str, str]:
    names = ("URL", "KEY", "API")
    values = (model.url, "secret-key", api)
    named = {f"LANGUAGE_MODEL_{name}": value for name, value in zip(names, values, strict=True)}
    return named | {"LANGUAGE_MODEL": "some-model"}


@pytest.fixture(scope="module")
def by_rules(
    supabase: tuple[Candidates, Door], miles: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    with deno(supabase[1], miles.url, tmp_path_factory.mktemp("rules")) as running:
        yield running


def openai(
    supabase: tuple[Candidates, Door], miles: Service | Door, folder: Path, model: Model, **variables: str
) -> AbstractContextManager[Function]:
    """The function with a language model; the count of daily calls is reset."""
    supabase[0].run("truncate recommendation_calls")
    return deno(supabase[1], miles.url, folder, **with_model(model, "openai"), **variables)


def test_the_source_is_formatted_checked_and_linted() -> None:
    install(FOLDER)
    environment = node_environment(DENO_NO_UPDATE_CHECK="1", NO_COLOR="1")
    failures = {}
    for words in (["fmt", "--check"], ["lint"], ["check"]):
        done = completed([DENO, *words, "functions"], cwd=FOLDER, env=environment)
        if done.returncode:
            failures[words[0]] = done.stdout + done.stderr
    assert failures == {}


def test_patterns_are_measured_on_the_rows_that_the_caller_may_read(by_rules: Function) -> None:
    """Welch's interval at 5 % over eleven patterns, of log(views a day + 1); hidden rows do not count."""
    answer = by_rules.ask().json()
    assert answer["rows"] == 61
    (number,) = [pattern for pattern in answer["patterns"] if pattern["name"] == "number"]
    shown = [row for row in rows() if row.get("platform") != "hidden"]
    logs = np.log1p([row["view_count"] for row in shown])
    has = np.array([any(letter.isdigit() for letter in row["title"]) for row in shown])
    expected = stats.ttest_ind(logs[has], logs[~has], equal_var=False)
    low, high = expected.confidence_interval(1 - 0.05 / 11)
    middle = logs[has].mean() - logs[~has].mean()
    assert [number[name] for name in ("low", "factor", "high")] == pytest.approx(
        np.exp([low, middle, high]), rel=1e-3
    )
    assert (number["with"], number["without"], number["clear"]) == (30, 31, bool(low > 0))


def test_each_idea_has_the_services_score_beyond_the_smallest_difference(
    by_rules: Function, miles: Service
) -> None:
    """With the interval, a reason and the gain; the counts of ideas add up."""
    answer = by_rules.ask().json()
    info = httpx.get(f"{miles.url}/model/info").json()
    assert answer["smallest_difference"] == info["comparison"]["viral_score"]
    assert answer["source"] == "rules"
    assert answer["ideas"], answer
    draft = httpx.post(f"{miles.url}/predict", json={"title": "Grandmother cooks pasta"}).json()
    assert answer["draft"]["viral_score"] == draft["viral_score"]
    for idea in answer["ideas"]:
        alone = httpx.post(f"{miles.url}/predict", json={"title": idea["title"]}).json()
        assert idea["viral_score"] == alone["viral_score"]
        assert idea["velocity_interval"] == alone["velocity_interval"]
        assert idea["gain"] == pytest.approx(alone["viral_score"] - draft["viral_score"], abs=1e-6)
        assert idea["gain"] > answer["smallest_difference"]
        assert "The words move" in idea["reasons"][0]
    gains = [idea["gain"] for idea in answer["ideas"]]
    assert gains == sorted(gains, reverse=True)
    assert answer["considered"] == len(gains) + answer["too_close"] + answer["refused"]


def test_known_counts_of_the_draft_are_used(by_rules: Function, miles: Service) -> None:
    video = {"view_count": 12_000, "duration_seconds": 30, "channel": "x", "title": "other"}
    answer = by_rules.ask(video=video).json()
    sent = {"title": "Grandmother cooks pasta", "view_count": 12_000, "duration_seconds": 30}
    alone = httpx.post(f"{miles.url}/predict", json=sent).json()
    assert answer["draft"]["viral_score"] == alone["viral_score"]


def test_both_kinds_of_model_give_ideas(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """With the key in each API's header; an address and a duplicate are left out."""
    model.ideas = ["5 pasta hacks", "5 pasta hacks", "visit https://x.example", "Pasta in capitals: NEVER"]
    failures = {}
    for api, route, header in (
        ("openai", "/v1/chat/completions", ("authorization", "Bearer secret-key")),
        ("anthropic", "/v1/messages", ("x-api-key", "secret-key")),
    ):
        model.asked.clear()
        with deno(supabase[1], miles.url, tmp_path, **with_model(model, api)) as function:
            answer = function.ask().json()
        (asked,) = model.asked
        seen = (answer["source"], answer["considered"], asked.path, asked.headers[header[0]])
        if seen != ("language model", 2, route, header[1]):
            failures[api] = (seen, answer)
        assert {idea["title"] for idea in answer["ideas"]} <= set(model.ideas)
    assert failures == {}


def test_titles_of_strangers_are_data_in_the_prompt(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """A title that gives orders appears only in the user's JSON; the instructions are the same without it."""
    model.ideas = ["5 pasta hacks"]
    with openai(supabase, miles, tmp_path, model) as function:
        function.ask()
        function.ask(topic="of grandmother")
    first, second = (json.loads(asked.body) for asked in model.asked)
    assert first["messages"][0] == second["messages"][0]
    assert HOSTILE not in first["messages"][0]["content"]
    data = json.loads(first["messages"][1]["content"])
    assert HOSTILE in data["titles_of_others"]
    assert "secret-key" not in json.dumps(first)
    assert "tools" not in first


def test_the_cost_of_one_answer_is_bounded(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """One call to the model with a token limit, and one that scores at most twelve ideas."""
    model.ideas = [f"pasta idea {index}" for index in range(100)]
    settings = with_model(model, "openai")
    with open_door(miles.url) as door, deno(supabase[1], door.url, tmp_path, **settings) as function:
        answer = function.ask().json()
    (asked,) = model.asked
    body = json.loads(asked.body)
    assert body["max_tokens"] <= 1000
    assert len(asked.body) < 10_000
    assert answer["considered"] == 12
    assert door.paths() == ["/model/info", "/explain"]


def test_a_model_that_fails_is_replaced_by_rules_with_a_note(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """An error, text without a list, no text, a body that is too long, and one that is not JSON."""
    kind = {"Content-Type": "application/json"}
    replies = {
        "status 500": Reply(500, b"{}", kind),
        "no usable title": Reply(200, b'{"choices": [{"message": {"content": "I cannot do that."}}]}', kind),
        "an answer without text": Reply(200, b'{"choices": []}', kind),
        "more than 100000 bytes": Reply(200, b" " * 200_000, kind),
        "JSON": Reply(200, b"<html>", kind),
    }
    failures = {}
    with openai(supabase, miles, tmp_path, model) as function:
        for words, model.reply in replies.items():
            answer = function.ask().json()
            if answer["source"] != "rules" or not any(words in note for note in answer["notes"]):
                failures[words] = answer["notes"]
    assert failures == {}


def test_answers_of_newer_models_are_read(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """Text in parts, thoughts with lists before it, and the newer name of the token limit."""
    ideas = '["5 pasta hacks", "Pasta [4K]"]'
    thoughts = f'<think>Say [1] or ["draft"]?</think> Here are [2] ideas: {ideas} [end]'
    openai_texts: list[object] = [thoughts, [{"type": "text", "text": ideas}]]
    anthropic_parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": ideas}]
    replies = {
        "openai": [{"choices": [{"message": {"content": text}}]} for text in openai_texts],
        "anthropic": [{"content": anthropic_parts}],
    }
    failures = []
    for api, answers in replies.items():
        model.refuses = "max_tokens" if api == "openai" else ""
        with deno(supabase[1], miles.url, tmp_path, **with_model(model, api)) as function:
            for body in answers:
                model.reply = Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})
                answer = function.ask().json()
                if (answer["source"], answer["considered"]) != ("language model", 2):
                    failures.append((api, body, answer))
    assert failures == []
    assert json.loads(model.asked[1].body)["max_completion_tokens"] <= 1000


def test_no_character_is_cut_in_half_or_taken_apart(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """Emoji at the end of a shortened title, and joiners in emoji and Persian words."""
    times = {"upload_date": "2026-03-01T12:00:00Z", "scraped_at": "2026-03-02T12:00:00Z"}
    supabase[0].add([{"title": "risotto " + "x" * 111 + "🍝🍝", "view_count": 5, **times}])
    model.ideas = ["Risotto 👩\u200d🍳"]
    draft = "می\u200cخواهم 👨\u200d👩\u200d👧"
    with open_door(miles.url) as door, openai(supabase, door, tmp_path, model) as function:
        answer = function.ask(topic="risotto", title=draft).json()
        (asked,) = model.asked
        model.reply = Reply(500, b"")
        function.ask(topic="risotto", title="y" * 39 + "🍝🍝 day")
        ideas = [change["title"] for call in door.calls if call.body for change in call.body["what_if"]]
    assert answer["draft"]["title"] == draft
    (title,) = json.loads(json.loads(asked.body)["messages"][1]["content"])["titles_of_others"]
    assert title.endswith("x🍝")
    assert model.ideas[0] in ideas
    assert [idea for idea in ideas if idea != idea.encode("utf-8", "replace").decode()] == []


def test_the_twenty_first_call_of_a_day_is_answered_by_rules(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    model.ideas = ["5 pasta hacks"]
    with openai(supabase, miles, tmp_path, model) as function:
        supabase[0].run("insert into recommendation_calls select %s from generate_series(1, 19)", [USER])
        sources = [function.ask().json()["source"] for _ in range(2)]
        other = function.ask(user=OTHER).json()["source"]
    assert [*sources, other] == ["language model", "rules", "language model"]
    assert len(model.asked) == 2


def test_only_a_user_with_an_account_gets_ideas(
    supabase: tuple[Candidates, Door], miles: Service, model: Model, tmp_path: Path
) -> None:
    """Without a token, with the public key and with a forged token: 401, and the model is not asked."""
    forged = token("authenticated", sub=USER)[:-4] + "AAAA"
    with openai(supabase, miles, tmp_path, model) as function:
        statuses = [function.ask(role="").status_code, function.ask(role="anon").status_code]
        headers = {"Authorization": f"Bearer {forged}"}
        body = {"topic": "pasta", "title": "x"}
        statuses.append(httpx.post(function.url, json=body, headers=headers, timeout=LIMIT_S).status_code)
    assert statuses == [401, 401, 401]
    assert model.asked == []


def test_ideas_are_kept_as_the_users_own_rows(by_rules: Function, supabase: tuple[Candidates, Door]) -> None:
    supabase[0].run("truncate recommendations")
    by_rules.ask()
    assert supabase[0].run("select count(*) from recommendations") == [(0,)]
    answer = by_rules.ask(keep=True).json()
    assert answer["kept"] == len(answer["ideas"]) > 0
    assert supabase[0].run("select distinct user_id::text from recommendations") == [(USER,)]
    rest = f"{supabase[1].url}/rest/v1/recommendations"
    counts = []
    for user in (USER, OTHER):
        headers = {"Authorization": f"Bearer {token('authenticated', sub=user)}"}
        counts.append(len(httpx.get(rest, headers=headers).json()))
    assert counts == [answer["kept"], 0]


def test_without_the_right_to_write_nothing_is_kept(
    by_rules: Function, supabase: tuple[Candidates, Door]
) -> None:
    """The ideas still come, with the database's reason."""
    supabase[0].run("truncate recommendations")
    supabase[0].run("revoke insert on recommendations from authenticated")
    try:
        answer = by_rules.ask(keep=True).json()
    finally:
        supabase[0].run("grant insert on recommendations to authenticated")
    assert answer["ideas"]
    assert answer["kept"] == 0
    assert "permission denied" in answer["notes"][-1]


def test_wrong_input_is_refused_with_the_next_step(by_rules: Function) -> None:
    cases = [({"topic": "x"}, "topic: "), ({"title": ""}, "title: "), ({"title": "x" * 101}, "title: ")]
    failures = []
    for fields, words in cases:
        answer = by_rules.ask(**fields)
        if answer.status_code != 422 or words not in answer.json()["detail"]:
            failures.append((fields, answer.text))
    assert failures == []


def test_a_topic_with_wildcards_is_taken_literally(by_rules: Function) -> None:
    topics = ("p_sta", "p%a", "p*a")
    assert [by_rules.ask(topic=topic).json()["rows"] for topic in topics] == [0, 0, 0]


def test_a_sleeping_miles_is_a_503_that_says_when(
    supabase: tuple[Candidates, Door], miles: Service, tmp_path: Path
) -> None:
    with open_door(miles.url) as door, deno(supabase[1], door.url, tmp_path) as function:
        door.plan.append(Reply(503, b"<p>waking", {"Content-Type": "text/html"}))
        asleep = function.ask()
    with deno(supabase[1], f"http://127.0.0.1:{free_port()}", tmp_path) as function:
        absent = function.ask()
    assert [answer.status_code for answer in (asleep, absent)] == [503, 503]
    assert asleep.headers["retry-after"] == "60"
    assert "try again" in asleep.json()["detail"]
    assert "MILES_URL" in absent.json()["detail"]


def test_a_missing_setting_is_named(supabase: tuple[Candidates, Door], tmp_path: Path) -> None:
    with deno(supabase[1], "", tmp_path) as function:
        answer = function.ask()
    assert answer.status_code == 500
    assert "supabase secrets set MILES_URL" in answer.json()["detail"]
