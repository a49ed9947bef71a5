"""Let judges score answers in Celery's workers: each answer that is drawn for a judge becomes a task.

    pip install "langchain-ldai[redis]" "celery[redis]"
    cd cookbook
    celery --app judge_task worker                        # in any number of terminals
    python judge_task.py "How do I switch it off?"        # the web process: it answers, and a worker judges

Both need the address of a Redis in REDIS_URL and a LaunchDarkly: that of the SDK key in LAUNCHDARKLY_SDK_KEY, or a
local one at the address in LAUNCHDARKLY_URL.

LaunchDarkly says which judges an AI Config has, and which share of the answers each scores. A task is in the queue
before the answer is given. Celery delivers it again if a child is killed, and the ledger sees to it that a judge
scores a run once. What a killed child recorded is in the directory EVENTS_DIRECTORY, and the next child sends it.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from celery import Celery
from celery.signals import worker_process_init, worker_process_shutdown
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context

from feedback import connect, settings
from langchain_ldai import LdAiClient, LdAiHandler, LdAiJudgeConfig
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.judges import Judges, JudgeTask
from langchain_ldai.ledgers.redis import RedisLedger
from needs import arguments, redis_url
from own_files import own_file
from served_model import model_for

REDIS_URL = redis_url()
EVENTS = os.environ.get("EVENTS_DIRECTORY") or own_file("judge-task-events")
settings()  # where no LaunchDarkly is named, the worker does not start

app = Celery("judge_task", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,  # deliver a killed child's task again
    worker_proc_alive_timeout=15,  # a child waits 5 s for a LaunchDarkly that is down; Celery allows it 4
)
ledger = RedisLedger.from_url(REDIS_URL)


@contextmanager
def launchdarkly() -> Iterator[LdAiClient]:
    """Give a client for as long as a process needs it."""
    events = DurableEvents(EVENTS)
    client = connect(events)
    ai = LdAiClient(client, ledger=ledger, delivery=events)
    try:
        yield ai
    finally:
        ai.close(5)
        client.close()  # what LaunchDarkly does not accept now, the next process sends


judges: Judges  # of this child
opened = ExitStack()


@worker_process_init.connect
def open_client(**signal: object) -> None:
    """Open the client of a child that starts."""
    global judges
    judges = Judges(opened.enter_context(launchdarkly()), model=chat_model)


@worker_process_shutdown.connect
def close_client(**signal: object) -> None:
    """Send what waits, and close the client of a child that ends."""
    opened.close()


def chat_model(config: LdAiJudgeConfig) -> BaseChatModel:
    """Return a judge's model."""
    return model_for(config, answer='{"score": 0.8, "reasoning": "It says what to do."}')


@app.task
def judge(task: str, user_key: str) -> float | None:
    """Score an answer, in a worker; the score counts for the run that gave the answer."""
    result = judges.evaluate_task(JudgeTask.from_json(task), Context.create(user_key))
    return None if result is None else result.score


def ask(question: str, user_key: str) -> str:
    """Answer a question, in the web process; nobody waits for a judge."""
    with launchdarkly() as ai:
        config = ai.completion_config("support-bot", Context.create(user_key), variables={"product": "the kettle"})
        if not config.enabled:
            return "The assistant is off."

        def enqueue(task: JudgeTask) -> None:
            judge.delay(task.to_json(), user_key)

        handler = LdAiHandler(config, judges=Judges(ai, model=chat_model, defer=enqueue))
        prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
        chain = prompt | model_for(config) | StrOutputParser()
        return chain.invoke({"question": question}, config={"callbacks": [handler]})


if __name__ == "__main__":
    (asked,) = arguments("QUESTION")
    # The worker knows the task by its module, which is not __main__ there.
    from judge_task import ask as ask_here

    print(ask_here(asked, user_key="user-1"))
