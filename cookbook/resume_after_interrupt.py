"""A graph that stops to ask a human, and goes on in another process: both parts are one run in LaunchDarkly.

    python cookbook/resume_after_interrupt.py                   # needs no account
    LAUNCHDARKLY_SDK_KEY=sdk-... python cookbook/resume_after_interrupt.py

The run's token lies in the checkpoint: it goes in with the config's metadata, and whoever resumes the graph reads
it back from there and passes it again.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from arrived import run_of, table
from feedback import connect
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, RunReport
from quickstart import USER, console, launchdarkly
from served_model import model_for

THREAD: RunnableConfig = {"configurable": {"thread_id": "ticket-7"}}
TOKEN = "ldai_resumption_token"
EACH_PART = ("$ld:ai:duration:total", "$ld:ai:tokens:total", "$ld:ai:tokens:input", "$ld:ai:tokens:output")
EXPECTED = sorted([*EACH_PART, *EACH_PART, "$ld:ai:generation:success"])


class Ticket(TypedDict, total=False):
    """What the graph works on."""

    draft: str
    answer: str


SupportGraph = CompiledStateGraph[Ticket, None, Ticket, Ticket]


def support(config: LdAiCompletionConfig, checkpointer: SqliteSaver) -> SupportGraph:
    """Return a graph that drafts an answer, asks whether it may go out, and writes it."""
    model = model_for(config)

    def write(request: str) -> str:
        return str(model.invoke([*config.to_messages(), ("user", request)]).content)

    graph = StateGraph(Ticket)
    graph.add_node("drafts", lambda ticket: {"draft": write("How do I switch it off?")})
    graph.add_node("asks", lambda ticket: {"draft": interrupt(ticket["draft"])})  # runs again with the answer
    graph.add_node("answers", lambda ticket: {"answer": write(f"Put nicely: {ticket['draft']}")})
    graph.add_edge(START, "drafts").add_edge("drafts", "asks").add_edge("asks", "answers")
    return graph.compile(checkpointer=checkpointer)


@contextmanager
def opened(path: Path) -> Iterator[tuple[LdAiCompletionConfig, SupportGraph]]:
    """Give the AI Config and the graph over a file of checkpoints, as each process opens them."""
    with closing(connect()) as client, SqliteSaver.from_conn_string(str(path)) as checkpointer:
        config = LdAiClient(client).completion_config("support-bot", USER, variables={"product": "the kettle"})
        if not config.enabled:
            raise SystemExit(f"LaunchDarkly serves no enabled variation of {config.key}: is targeting on?")
        yield config, support(config, checkpointer)


def invoke(
    graph: SupportGraph, config: LdAiCompletionConfig, value: Ticket | Command[None], token: str
) -> RunReport:
    """Run the graph as far as it goes, as a part of the run that the token names."""
    handler = LdAiHandler(config, resume=True)
    with handler.collect_runs() as runs:
        graph.invoke(value, {**THREAD, "callbacks": [handler], "metadata": {TOKEN: token}})
    return runs[0]


def ask(path: Path) -> RunReport:
    """Run the graph until it asks."""
    with opened(path) as (config, graph):
        token = config.create_tracker().resumption_token
        report = invoke(graph, config, {}, token)
        (question,) = (asked.value for step in graph.get_state(THREAD).tasks for asked in step.interrupts)
    print(f"first process: {report.outcome}, may this go out? {question}", flush=True)
    return report


def approve(path: Path) -> None:
    """Answer the question, in a process that knows nothing but the file."""
    with opened(path) as (config, graph):
        state = graph.get_state(THREAD)
        unchanged: Command[None] = Command(resume=state.values["draft"])
        metadata: Mapping[str, object] = state.metadata or {}
        report = invoke(graph, config, unchanged, str(metadata[TOKEN]))
    print(f"second process: {report.outcome}")


def main() -> int:
    """Ask here, let a second process answer, show what arrived, and check it."""
    if len(sys.argv) > 1:
        approve(Path(sys.argv[1]))
        return 0
    with launchdarkly() as local, TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoints.sqlite"
        report = ask(path)
        of_first = local.custom_events() if local is not None else []
        subprocess.run([sys.executable, __file__, path], check=True)
        if local is None:
            print(f"both parts of run {report.run_id} are on their way to LaunchDarkly")
            return 0
        of_second = local.custom_events()[len(of_first) :]
    sent = {
        "first process": [event for event in of_first if run_of(event)],
        "second process": [event for event in of_second if run_of(event)],
    }
    console.print(table(sent))
    events = [event for of_sender in sent.values() for event in of_sender]
    runs = set(map(run_of, events))
    if sorted(event.name for event in events) != EXPECTED or runs != {report.run_id}:
        print("not what was expected: one run, with these:", *EXPECTED, sep="\n  ")
        return 1
    print("as expected: two processes, one run, tokens and duration of each part, one success")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
