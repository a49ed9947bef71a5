"""One chain run from AI Config to LaunchDarkly, and feedback on it from a second process.

    python cookbook/quickstart.py                         # needs no account
    LAUNCHDARKLY_SDK_KEY=sdk-... python cookbook/quickstart.py
    python cookbook/quickstart.py --model openai:gpt-4o-mini

Without LAUNCHDARKLY_SDK_KEY a LaunchDarkly of its own, on this machine, serves the AI Config in `flags.json`
and shows what it received.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context, LDClient
from rich.console import Console
from rich.table import Table

from feedback import connect
from langchain_ldai import LdAiClient, LdAiCompletionConfig, LdAiHandler, RunReport
from langchain_ldai.testing import LoopbackLaunchDarkly, RecordedEvent
from local_model import LocalModel

HERE = Path(__file__).parent
USER = Context.builder("user-1").name("Sandy").build()
EXPECTED = {
    "$ld:ai:tokens:ttf",
    "$ld:ai:duration:total",
    "$ld:ai:tokens:total",
    "$ld:ai:tokens:input",
    "$ld:ai:tokens:output",
    "$ld:ai:generation:success",
    "$ld:ai:feedback:user:positive",
}


@contextmanager
def launchdarkly() -> Iterator[LoopbackLaunchDarkly | None]:
    """Give a local LaunchDarkly, and nothing where an SDK key names the real one."""
    if "LAUNCHDARKLY_SDK_KEY" in os.environ:
        yield None
        return
    with LoopbackLaunchDarkly.from_file(HERE / "flags.json") as local:
        os.environ["LAUNCHDARKLY_URL"] = local.url
        yield local


def chat_model(config: LdAiCompletionConfig, name: str | None) -> BaseChatModel:
    """Return the model asked for, or else the local one under the AI Config's name for it."""
    if name is None:
        return LocalModel(model=config.model.name)
    from langchain.chat_models import init_chat_model

    return init_chat_model(name)


def ask(client: LDClient, question: str, model_name: str | None) -> RunReport:
    """Stream one answer, and return the report of the run."""
    ai = LdAiClient(client)
    config = ai.completion_config("support-bot", USER, variables={"product": "the kettle"})
    prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
    chain = prompt | chat_model(config, model_name) | StrOutputParser()

    handler = LdAiHandler(config)
    with handler.collect_runs() as runs:
        for text in chain.stream({"question": question}, {"callbacks": [handler]}):
            print(text, end="", flush=True)
    print()
    return runs[0]


def run_of(event: RecordedEvent) -> str:
    """Return the id of the run that an event belongs to, "" where it belongs to none."""
    return str(event.data.get("runId", "")) if isinstance(event.data, dict) else ""


def table(events: Sequence[RecordedEvent]) -> Table:
    """Return the events that belong to runs as a table, run by run."""
    shown = Table("run", "event", "value", title="Received by LaunchDarkly")
    for run in dict.fromkeys(map(run_of, events)):
        rows = [event for event in events if run_of(event) == run]
        for position, event in enumerate(rows):
            shown.add_row(
                run if position == 0 else "", event.name, f"{event.value:g}", end_section=event is rows[-1]
            )
    return shown


def main() -> int:
    """Ask, let a second process give feedback, show what arrived, and check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="PROVIDER:NAME", help="a real model, such as openai:gpt-4o-mini")
    options = parser.parse_args()
    with launchdarkly() as local:
        client = connect()
        try:
            report = ask(client, "How do I switch it off?", options.model)
        finally:
            client.close()
        subprocess.run([sys.executable, HERE / "feedback.py", report.resumption_token], check=True)
        if local is None:
            print(f"run {report.run_id} and its feedback are on their way to LaunchDarkly")
            return 0
        events = [event for event in local.custom_events() if run_of(event)]
    Console().print(table(events))
    arrived = sorted(event.name for event in events)
    if arrived != sorted(EXPECTED) or set(map(run_of, events)) != {report.run_id}:
        print("not what was expected: each of these once, under one run:", *sorted(EXPECTED), sep="\n  ")
        return 1
    print("as expected: seven events, each once, one run, two processes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
