"""Let a model judge answers later, in workers: a web process asks and enqueues, RQ's workers judge.

    pip install "langchain-ldai[redis]" rq
    python judge_worker.py "How do I switch it off?"     # answers, and leaves the judging to a worker
    rq worker judging --url "$REDIS_URL" --path .        # in any number of other processes

Both need the address of a Redis in REDIS_URL and a LaunchDarkly: that of the SDK key in LAUNCHDARKLY_SDK_KEY, or a
local one at the address in LAUNCHDARKLY_URL.

The job carries the run's resumption token, so that score and feedback count for the run that gave the answer. A
queue delivers a job again where a worker is lost; the ledger sees to it that this counts nothing twice. What a
killed worker has recorded is in the directory EVENTS_DIRECTORY, and the next job sends it.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context
from redis import Redis
from rq import Queue, Retry

from feedback import connect, settings
from langchain_ldai import Feedback, LdAiClient, LdAiHandler, LdAiJudgeConfig
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges
from langchain_ldai.ledgers.redis import RedisLedger
from needs import arguments, redis_url
from own_files import own_file
from served_model import model_for

REDIS_URL = redis_url()
EVENTS = os.environ.get("EVENTS_DIRECTORY") or own_file("judge-worker-events")
settings()  # where no LaunchDarkly is named, the worker does not start

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


def judge(token: str, user_key: str, question: str, answer: str) -> float | None:
    """Score an answer as the judge's AI Config says, and count the score for the run that gave the answer."""
    context = Context.create(user_key)
    with launchdarkly() as ai:
        judges = Judges(ai, model=chat_model)
        result = judges.evaluate("relevance-judge", token, context, question=question, answer=answer)
        tracker = ai.create_tracker(token, context)
        if result is None or result.score is None:
            log.warning("judge 'relevance-judge' gave no score for run %s", tracker.run_id)
            return None
        tracker.track_feedback(Feedback.POSITIVE if result.score >= 0.5 else Feedback.NEGATIVE)
    return result.score


if __name__ == "__main__":
    (asked,) = arguments("QUESTION")
    # A job names its function by its module, which is not __main__ for a worker.
    from judge_worker import ask as ask_here

    print(ask_here(asked, user_key="user-1"))
