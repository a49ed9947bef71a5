"""Let a model judge answers later, in workers: a web process asks and enqueues, RQ's workers judge.

    pip install "langchain-ldai[redis]" rq
    python judge_worker.py "How do I switch it off?"     # answers, and leaves the judging to a worker
    rq worker judging --url "$REDIS_URL" --path .        # in any number of other processes

The job carries the run's resumption token, so that score and feedback count for the run that gave the answer. A
queue delivers a job again where a worker is lost; the ledger sees to it that this counts nothing twice.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context
from redis import Redis
from rq import Queue, Retry

from feedback import connect
from langchain_ldai import Feedback, LdAiClient, LdAiHandler, LdAiJudgeConfig
from langchain_ldai.judges import Judges
from langchain_ldai.ledgers.redis import RedisLedger
from local_model import LocalModel

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

log = logging.getLogger(__name__)
ledger = RedisLedger.from_url(REDIS_URL)


@contextmanager
def launchdarkly() -> Iterator[LdAiClient]:
    """Give a client for as long as it is needed: RQ's workers fork for each job and end without further ado."""
    client = connect()
    ai = LdAiClient(client, ledger=ledger)
    try:
        yield ai
    finally:
        ai.close()
        client.close()  # delivers what is still in the client's buffer


def ask(question: str, user_key: str) -> str:
    """Answer a question and enqueue the judging of the answer."""
    with launchdarkly() as ai:
        config = ai.completion_config("support-bot", Context.create(user_key), variables={"product": "the kettle"})
        prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
        handler = LdAiHandler(config)
        with handler.collect_runs() as runs:
            chain = prompt | LocalModel(model=config.model.name) | StrOutputParser()
            answer = chain.invoke({"question": question}, config={"callbacks": [handler]})
        with Redis.from_url(REDIS_URL) as redis:
            judging = Queue("judging", connection=redis)
            judging.enqueue(judge, runs[0].resumption_token, user_key, question, answer, retry=Retry(max=3))
    return answer


def chat_model(config: LdAiJudgeConfig) -> BaseChatModel:
    """Return the judge's model; in production `langchain_ldai.chat_models.create_chat_model(config)`."""
    return LocalModel(model=config.model.name, answer='{"score": 0.8, "reasoning": "It says what to do."}')


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
    # A job names its function by its module, which is not __main__ for a worker.
    from judge_worker import ask as ask_here

    print(ask_here(sys.argv[1], user_key="user-1"))
