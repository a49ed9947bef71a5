"""One chain run from AI Config to LaunchDarkly, and feedback on it from a second process, step by step.

    python cookbook/quickstart.py                         # needs no account, only `pip install rich`
    LAUNCHDARKLY_SDK_KEY=sdk-... python cookbook/quickstart.py

Without LAUNCHDARKLY_SDK_KEY a LaunchDarkly of its own, on this machine, serves the AI Config in `flags.json`
and shows what it received.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context, LDClient
from rich.console import Console

from arrived import run_of, table
from feedback import connect
from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import LoopbackLaunchDarkly
from served_model import model_for

HERE = Path(__file__).parent
USER = Context.builder("user-1").name("Sandy").build()
QUESTION = "How do I switch it off?"
EXPECTED = {
    "$ld:ai:tokens:ttf",
    "$ld:ai:duration:total",
    "$ld:ai:tokens:total",
    "$ld:ai:tokens:input",
    "$ld:ai:tokens:output",
    "$ld:ai:generation:success",
    "$ld:ai:feedback:user:positive",
}
NEXT = """
Next, with a LaunchDarkly of your own:
  1. Take the five steps of README.md: an AI Config `support-bot`, a variation, targeting on, the SDK key.
  2. Set the key of the variation's provider, such as OPENAI_API_KEY.
  3. LAUNCHDARKLY_SDK_KEY=sdk-... make demo
Without one, `langchain-ldai dev` serves AI Configs of yours on this machine and shows your runs in a page."""

console = Console(highlight=False, markup=False, soft_wrap=True)  # in colour at a terminal alone


@contextmanager
def launchdarkly() -> Iterator[LoopbackLaunchDarkly | None]:
    """Give a local LaunchDarkly, and nothing where an SDK key names the real one."""
    if "LAUNCHDARKLY_SDK_KEY" in os.environ:
        yield None
        return
    with LoopbackLaunchDarkly.from_file(HERE / "flags.json") as local:
        os.environ["LAUNCHDARKLY_URL"] = local.url
        yield local


def begin(step: str) -> None:
    """Print what a step of the story begins with."""
    console.print(f"{step:<11}", style="bold cyan", end="")


def ask(client: LDClient, question: str) -> RunReport:
    """Show what is served, stream one answer, and return the report of the run."""
    config = LdAiClient(client).completion_config("support-bot", USER, variables={"product": "the kettle"})
    if not config.enabled:
        raise SystemExit("LaunchDarkly serves no enabled variation of support-bot: is targeting on?")
    begin("1 Served")
    console.print(
        f"{config.key}, variation {config.variation_key!r}: the prompt, and the model {config.model.name}"
    )
    begin("2 Asked")
    console.print(question)

    prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}")])
    chain = prompt | model_for(config, pause=0.05) | StrOutputParser()
    handler = LdAiHandler(config)
    begin("3 Answered")
    with handler.collect_runs() as runs:
        for text in chain.stream({"question": question}, {"callbacks": [handler]}):
            console.print(text, end="")
    console.print(f"\n{'':<11}run {runs[0].run_id}: {runs[0].outcome}")
    return runs[0]


def give_feedback(token: str) -> int:
    """Let a second process add a thumb to the run that a token names, and return the process's id."""
    with subprocess.Popen([sys.executable, HERE / "feedback.py", token]) as process:
        begin("4 Liked")
        console.print(
            f"by a second process, {process.pid}, which knows the run by its token alone: {token[:12]}..."
        )
    if process.returncode:
        raise SystemExit("the second process failed: see above")
    return process.pid


def main() -> int:
    """Ask, let a second process give feedback, show what arrived, and check it."""
    with launchdarkly() as local:
        with closing(connect()) as client:
            report = ask(client, QUESTION)
        of_first = local.custom_events() if local is not None else []
        second = give_feedback(report.resumption_token)
        begin("5 Received")
        if local is None:
            console.print("in a few minutes: look at the Monitoring tab of support-bot")
            return 0
        of_second = local.custom_events()[len(of_first) :]
    sent = {
        f"this process, {os.getpid()}": [event for event in of_first if run_of(event)],
        f"the second, {second}": [event for event in of_second if run_of(event)],
    }
    events = [event for of_sender in sent.values() for event in of_sender]
    if sorted(event.name for event in events) != sorted(EXPECTED) or {*map(run_of, events)} != {report.run_id}:
        console.print(table(sent))
        console.print("not what was expected: each of these once, under one run:", *sorted(EXPECTED), sep="\n  ")
        return 1
    console.print("by LaunchDarkly, as expected: seven events, each once, one run, two processes")
    console.print(table(sent))
    console.print(NEXT)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
