"""Let a model judge answers later, in workers: a web process asks and enqueues, RQ's workers judge.

    pip install "langchain-ldai[redis]" rq
    python judge_worker.py "How do I switch it off?"     # answers, and leaves the judging to a worker
    rq worker judging --url "$REDIS_URL" --path .        # in any number of other processes

The job carries the run's resumption token, so that score and feedback count for the run that gave the answer. A
queue delivers a job again where a worker is lost; the ledger sees to it that this counts nothing twice. What a
killed worker has recorded is in the directory EVENTS_DIRECTORY, and the next job sends it.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.utils import mustache
from ldclient import Context
from redis import Redis
from rq import Queue, Retry

from feedback import connect
from langchain_ldai import Feedback, JudgeResult, LdAiClient, LdAiHandler, LdAiJudgeConfig
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers.redis import RedisLedger
from local_model import model_for
from own_files import own_file

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
EVENTS = os.environ.get("EVENTS_DIRECTORY") or own_file("judge-worker-events")
PLACEHOLDER = re.compile(r"\{\{[{&]?\s*(message_history|response_to_evaluate)\s*\}?\}\}")
EXCHANGE = "MESSAGE HISTORY:\n{{{message_history}}}\n\nRESPONSE TO EVALUATE:\n{{{response_to_evaluate}}}"
FORMAT = 'Answer with one JSON object and nothing else: {"score": <a number from 0 to 1>, "reasoning": <a text>}'
FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(.*?)```", re.DOTALL)

log = logging.getLogger(__name__)
ledger = RedisLedger.from_url(REDIS_URL)


@contextmanager
def launchdarkly() -> Iterator[LdAiClient]:
    """Give a client for as long as it is needed: RQ's workers fork for each job and end without further ado."""
    events = DurableEvents(EVENTS)
    client = connect(events)
    ai = LdAiClient(client, ledger=ledger, delivery=events)
    try:
        yield ai
    finally:
        ai.close(5)
        client.close()  # what LaunchDarkly does not accept now, the next job sends


def ask(question: str, user_key: str) -> str:
    """Answer a question and enqueue the judging of the answer."""
    with launchdarkly() as ai:
        config = ai.completion_config("support-bot", Context.create(user_key), variables={"product": "the kettle"})
        if not config.enabled:
            return "The assistant is off."
        prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
        handler = LdAiHandler(config)
        with handler.collect_runs() as runs:
            chain = prompt | model_for(config) | StrOutputParser()
            answer = chain.invoke({"question": question}, config={"callbacks": [handler]})
        with Redis.from_url(REDIS_URL) as redis:
            judging = Queue("judging", connection=redis)
            judging.enqueue(judge, runs[0].resumption_token, user_key, question, answer, retry=Retry(max=3))
    return answer


def chat_model(config: LdAiJudgeConfig) -> BaseChatModel:
    """Return the judge's model."""
    return model_for(config, answer='{"score": 0.8, "reasoning": "It says what to do."}')


def prompt(config: LdAiJudgeConfig, context: Context, question: str, answer: str) -> list[tuple[str, str]]:
    """Return what the judge is shown: its messages as they are served, filled in once: no value is a template."""
    messages = config.raw.get("messages")
    served = [(said["role"], said["content"]) for said in (messages if isinstance(messages, list) else ())]
    if not any(PLACEHOLDER.search(template) for _, template in served):
        served.append(("user", EXCHANGE))
    values = {
        "ldctx": context.to_dict(),
        "ldContext": context.to_dict(),
        "message_history": f"{question}\n\n{answer}",
        "response_to_evaluate": answer,
    }
    filled = [(role, mustache.render(PLACEHOLDER.sub(r"{{{\1}}}", template), values)) for role, template in served]
    return [*filled, ("user", FORMAT)]


def score_of(answer: str) -> float | None:
    """Return the score in a judge's answer, a JSON object, bare or fenced; `None` where it is not from 0 to 1."""
    fenced = FENCED.search(answer)
    try:
        read = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return None
    score = read.get("score") if isinstance(read, dict) else None
    if not isinstance(score, int | float) or isinstance(score, bool):
        return None
    return abs(float(score)) if 0 <= score <= 1 else None  # JSON knows a zero below zero


def judge(token: str, user_key: str, question: str, answer: str) -> float | None:
    """Score an answer as the judge's AI Config says, and count the score for the run that gave the answer."""
    context = Context.create(user_key)
    with launchdarkly() as ai:
        config = ai.judge_config("relevance-judge", context)
        if not (config.enabled and config.evaluation_metric_key):
            return None
        chain = chat_model(config) | StrOutputParser()
        handler = LdAiHandler(config)  # what judging costs counts for the judge
        score = score_of(chain.invoke(prompt(config, context, question, answer), {"callbacks": [handler]}))
        tracker = ai.create_tracker(token, context)
        if score is None:
            log.warning("judge %r gave no score from 0 to 1 for run %s", config.key, tracker.run_id)
            return None
        tracker.track_feedback(Feedback.POSITIVE if score >= 0.5 else Feedback.NEGATIVE)
        # A tracker takes any number of scores: that there is one a run is for this recipe to see to.
        if ledger.claim(f"{tracker.run_id}/{config.key}", ["score"], uuid4().hex):
            tracker.track_judge_result(JudgeResult(config.evaluation_metric_key, score, config.key))
    return score


if __name__ == "__main__":
    # A job names its function by its module, which is not __main__ for a worker.
    from judge_worker import ask as ask_here

    print(ask_here(sys.argv[1], user_key="user-1"))
