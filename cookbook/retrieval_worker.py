"""Retrieval in Celery's workers, and feedback in the web process: a thumb counts for the run that a worker made.

    pip install "langchain-ldai[redis]" "celery[redis]"
    cd cookbook
    celery --app retrieval_worker worker                    # in any number of terminals
    python retrieval_worker.py "How do I switch it off?"    # the web process: it asks, and takes a thumb

Both need the address of a Redis in REDIS_URL and a LaunchDarkly: that of the SDK key in LAUNCHDARKLY_SDK_KEY, or a
local one at the address in LAUNCHDARKLY_URL.

Celery forks its children, so each makes a client of its own and closes it at its end. A child that is killed loses
nothing: what it recorded is in the directory EVENTS_DIRECTORY, and the next process that uses it sends it. Celery
then delivers the child's task again. The run has the id of its task, so that this counts nothing twice.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypedDict

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnablePassthrough
from ldclient import Context

from feedback import connect, settings
from langchain_ldai import Feedback, LdAiClient, LdAiCompletionConfig, LdAiHandler
from langchain_ldai.delivery import DurableEvents
from langchain_ldai.ledgers.redis import RedisLedger
from needs import arguments, redis_url
from own_files import own_file
from rag import Manual
from served_model import model_for

REDIS_URL = redis_url()
EVENTS = os.environ.get("EVENTS_DIRECTORY") or own_file("retrieval-worker-events")
settings()  # where no LaunchDarkly is named, the worker does not start

app = Celery("retrieval_worker", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,  # deliver a killed child's task again
    worker_proc_alive_timeout=15,  # a child waits 5 s for a LaunchDarkly that is down; Celery allows it 4
)
ledger = RedisLedger.from_url(REDIS_URL)


class Answer(TypedDict):
    """What a task answers; the token is for the web process, which keeps it with the answer."""

    answer: str
    token: str


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


ai: LdAiClient  # of this child
opened = ExitStack()


@worker_process_init.connect
def open_client(**signal: object) -> None:
    """Open the client of a child that starts."""
    global ai
    ai = opened.enter_context(launchdarkly())


@worker_process_shutdown.connect
def close_client(**signal: object) -> None:
    """Send what waits, and close the client of a child that ends."""
    handler.close(5)
    opened.close()


def config_for(metadata: Mapping[str, Any]) -> LdAiCompletionConfig:
    """Return the AI Config for whom a run is."""
    user = Context.create(metadata["user_id"])
    return ai.completion_config("support-bot", user, variables={"product": "the kettle"})


handler = LdAiHandler(config_for, run_ids=lambda metadata: metadata["task_id"])


def served(question: str, config: RunnableConfig) -> Runnable[str, Any] | str:
    """Return retriever, prompt and model of the AI Config that the run is counted for."""
    counted_for = LdAiHandler.current_config(config)
    if not counted_for.enabled:
        return "The assistant is off."
    prompt = ChatPromptTemplate.from_messages([*counted_for.to_messages(), ("user", "{question}\n\n{page}")])
    return {"page": Manual(), "question": RunnablePassthrough()} | prompt | model_for(counted_for)


answered: Runnable[str, Any] = RunnableLambda(served)  # runs what `served` returns
chain = answered | StrOutputParser()


@app.task(bind=True, resultrepr_maxsize=1)  # or Celery logs the answer and the token
def answer(task: Task, question: str, user_key: str) -> Answer:
    """Answer a question from the manual, in a worker."""
    metadata = {"user_id": user_key, "task_id": task.request.id}
    with handler.collect_runs() as runs:
        text = chain.invoke(question, {"callbacks": [handler], "metadata": metadata})
    return {"answer": text, "token": runs[0].resumption_token}


def main() -> None:
    """Let a worker answer, and record that the user liked it, as a web process does in two requests."""
    (question,) = arguments("QUESTION")
    said: Answer = answer.delay(question, "user-1").get(timeout=60)
    print(said["answer"])
    with launchdarkly() as client:
        client.create_tracker(said["token"], Context.create("user-1")).track_feedback(Feedback.POSITIVE)


if __name__ == "__main__":
    # The worker knows the task by its module, which is not __main__ there.
    from retrieval_worker import main as main_here

    main_here()
