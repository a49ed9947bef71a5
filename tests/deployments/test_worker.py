"""Judging in a worker, through a real queue: the score counts for the run, once, however often it is delivered."""

import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from ldclient import Context
from redis import Redis
from rq import Queue

from langchain_ldai import LdAiClient
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordingClient
from tests.deployments.servers import ROOT
from tests.support.chains import DURATION, POSITIVE, SUCCESS
from tests.support.redis_server import RedisServer, running_redis

RECIPES = ROOT / "cookbook"
SCORE = "$ld:ai:judge:relevance"


@pytest.fixture
def redis_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis for the queue and the ledger; beside it is the directory of the events."""
    monkeypatch.setenv("EVENTS_DIRECTORY", str(tmp_path / "events"))
    with running_redis(tmp_path) as server:
        yield server


def call(program: list[object], launchdarkly: LoopbackLaunchDarkly, redis_server: RedisServer) -> str:
    """Run a program of the recipe to its end, and return what it printed."""
    environment = {
        "LAUNCHDARKLY_URL": launchdarkly.url,
        "REDIS_URL": redis_server.url,
        "PYTHONPATH": f"{ROOT}:{RECIPES}",
    }
    ended = subprocess.run(
        [str(part) for part in program],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout.strip()


def test_a_worker_judges_a_run_once(redis_server: RedisServer) -> None:
    """Score and feedback arrive under the run's id and for its user; a job delivered again adds neither."""
    worker = [Path(sys.executable).parent / "rq", "worker", "judging", "--burst", "--url", redis_server.url]
    with LoopbackLaunchDarkly.from_file(RECIPES / "flags.json") as launchdarkly:
        answer = call([sys.executable, RECIPES / "judge_worker.py", "How?"], launchdarkly, redis_server)
        with Redis.from_url(redis_server.url) as redis:
            queue = Queue("judging", connection=redis)
            (job,) = queue.jobs
            call(worker, launchdarkly, redis_server)
            assert job.get_status(refresh=True) == "finished"
            queue.enqueue_job(job)
            call(worker, launchdarkly, redis_server)
            assert (job.get_status(refresh=True), job.return_value(refresh=True)) == ("finished", 0.8)

        (score,) = launchdarkly.custom_events(SCORE)
        metrics = launchdarkly.metrics(score.data["runId"])
        judging = [event.data for event in launchdarkly.custom_events(DURATION)]

    assert answer == "Hold the button"
    assert (score.value, score.context.key) == (0.8, "user-1")
    assert (score.data["configKey"], score.data["judgeConfigKey"]) == ("support-bot", "relevance-judge")
    assert (metrics[SUCCESS], metrics[POSITIVE], metrics[SCORE]) == ([1], [1], [0.8])
    assert [data["configKey"] for data in judging] == ["support-bot", "relevance-judge", "relevance-judge"]


class Judge(BaseChatModel):
    """A judge's model that gives one answer and keeps what it was shown."""

    answer: str
    shown: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "judge"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.shown.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.answer))])


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer) -> ModuleType:
    """The recipe, imported anew."""
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("LAUNCHDARKLY_URL", "http://127.0.0.1:1")  # each test has a LaunchDarkly of its own
    monkeypatch.syspath_prepend(str(RECIPES))
    monkeypatch.delitem(sys.modules, "judge_worker", raising=False)
    return importlib.import_module("judge_worker")


def judge_flag(*messages: tuple[str, str], **parts: object) -> dict[str, object]:
    """Return a judge of these messages."""
    return {
        "_ldMeta": {"enabled": True, "mode": "judge"},
        "evaluationMetricKey": SCORE,
        "messages": [{"role": role, "content": content} for role, content in messages],
        **parts,
    }


def judge_answer(
    recipe: ModuleType, flag: object, judge: Judge, user: str, answer: str = "Press <it>"
) -> list[float]:
    """Let the recipe judge an answer for a user, and return the scores that arrive."""
    flags = {"support-bot": {"_ldMeta": {"enabled": True}}, "relevance-judge": flag}
    with pytest.MonkeyPatch.context() as patch, LoopbackLaunchDarkly(flags) as launchdarkly:
        patch.setenv("LAUNCHDARKLY_URL", launchdarkly.url)
        patch.setattr(recipe, "chat_model", lambda config: judge)
        run = LdAiClient(RecordingClient(flags)).completion_config("support-bot", Context.create("user-1"))
        recipe.judge(run.create_tracker().resumption_token, user, "Is it {{on}}?", answer)
        return [event.value for event in launchdarkly.custom_events(SCORE)]


LAYOUTS = {
    "system-only": [("system", "Rate for {{ldctx.key}}.")],
    "placeholders": [("system", "Rate for {{ldContext.key}}."), ("user", "{{message_history}}")],
    "in-the-system-message": [("system", "For {{ldctx.key}}: {{ message_history }}: {{{response_to_evaluate}}}")],
}


@pytest.mark.parametrize("messages", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("user", ["ada", "{{=[ ]=}}", "{{message_history}}", "{{#response_to_evaluate}}", "{{{"])
def test_a_judge_is_shown_question_and_answer_whatever_is_in_them(
    recipe: ModuleType, messages: list[tuple[str, str]], user: str
) -> None:
    """Question, answer and user are shown as they are, in each layout of a judge: no value is a template."""
    judge = Judge(answer='{"score": 0.5}', shown=[])

    assert judge_answer(recipe, judge_flag(*messages), judge, user, answer="Press <it> {{ldctx.key}}") == [0.5]

    (shown,) = judge.shown
    text = "\n".join(message.text if isinstance(message.text, str) else message.text() for message in shown)
    assert all(part in text for part in (user.replace("&", "&amp;"), "Is it {{on}}?", "Press <it> {{ldctx.key}}"))
    assert shown[-1].type == "human"


ANSWERS = {
    "plain": ('{"score": 0.8, "reasoning": "fine"}', 0.8),
    "whole": ('{"score": 1, "reasoning": "right"}', 1.0),
    "zero": ('{"score": 0}', 0.0),
    "below-zero-in-name-only": ('{"score": -0.0}', 0.0),
    "more-members": ('{"score": 1e-1, "reason": "x", "confidence": 1}', 0.1),
    "spread-out": (' \n{\n "score": 0.5,\n "reasoning": "half"\n}\n', 0.5),
    "fenced": ('```json\n{"score": 0.9}\n```', 0.9),
    "bare-fence": ('```\r\n{"score": 0.9}\r\n```', 0.9),
    "words-before-a-fence": ('Here:\n```json\n{"score": 0.9}\n```', 0.9),
    "two-fences": ('```json\n{"score": 0.8}\n```\n```json\n{"score": 0.1}\n```', 0.8),
    "bare-number": ("0.8", None),
    "array": ('[{"score": 0.8}]', None),
    "prose": ("I would give this 8 out of 10.", None),
    "words-before": ('My verdict: {"score": 0.4}', None),
    "cut-off": ('{"score": 0.8, "reasoning": "it bre', None),
    "byte-order-mark": ('\ufeff{"score": 0.8}', None),
    "text": ('{"score": "0.9"}', None),
    "true": ('{"score": true}', None),
    "null": ('{"score": null}', None),
    "no-score": ("{}", None),
    "too-high": ('{"score": 1.5}', None),
    "too-low": ('{"score": -0.5}', None),
    "not-a-number": ('{"score": NaN}', None),
    "endless": ('{"score": Infinity}', None),
    "nested": ('{"evaluations": {"score": 0.8}}', None),
    "deep": ('{"score": 0.5, "a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
}


@pytest.mark.parametrize(("answer", "score"), ANSWERS.values(), ids=ANSWERS)
def test_a_judges_answer_is_an_object_with_a_score(
    recipe: ModuleType, caplog: pytest.LogCaptureFixture, answer: str, score: float | None
) -> None:
    """JSON with a score from 0 to 1, bare or fenced, is a score; anything else is told without its text."""
    caplog.set_level(logging.WARNING, logger="judge_worker")
    judge = Judge(answer=answer, shown=[])

    scores = judge_answer(recipe, judge_flag(("system", "Rate.")), judge, "ada")

    assert json.dumps(scores) == json.dumps([] if score is None else [score])
    warnings = [record.getMessage() for record in caplog.records if record.name == "judge_worker"]
    assert len(warnings) == (score is None)
    assert all("'relevance-judge'" in text and answer not in text for text in warnings)


NOT_ASKED = {
    "disabled": {"_ldMeta": {"enabled": False, "mode": "judge"}},
    "without-a-metric": {"evaluationMetricKey": ""},
}


@pytest.mark.parametrize("parts", NOT_ASKED.values(), ids=NOT_ASKED)
def test_a_judge_that_cannot_score_is_not_asked(recipe: ModuleType, parts: dict[str, object]) -> None:
    """A judge that is switched off, or has no metric for its score, costs nothing."""
    judge = Judge(answer='{"score": 0.5}', shown=[])

    assert judge_answer(recipe, judge_flag(("system", "Rate."), **parts), judge, "ada") == []
    assert judge.shown == []


def test_a_judge_may_be_of_any_mode(recipe: ModuleType) -> None:
    """LaunchDarkly's newer packages serve judges as completions."""
    judge = Judge(answer='{"score": 0.5}', shown=[])
    flag = judge_flag(("system", "Rate."), _ldMeta={"enabled": True})

    assert judge_answer(recipe, flag, judge, "ada") == [0.5]
