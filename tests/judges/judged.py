"""Runs that are judged, and graphs of them."""

import operator
from collections.abc import Mapping
from typing import Annotated, Final, TypedDict

from langchain_core.runnables import Runnable
from langgraph.graph import START, StateGraph
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.judges import Judges
from langchain_ldai.testing import RecordingClient
from tests.judges.judge_models import METRIC, JudgeModel, flags_with
from tests.support.chains import QUESTION, chain

USER: Final = Context.create("user-1")


class Judged:
    """A handler of `support-bot`, whose runs are judged by `accuracy`, and what comes of it."""

    def __init__(
        self,
        flags: Mapping[str, object] | None = None,
        *,
        model: JudgeModel | None = None,
        options: Mapping[str, object] | None = None,
        **judging: object,
    ) -> None:
        self.client = RecordingClient(flags or flags_with())
        self.ai = LdAiClient(self.client)
        self.model = model or JudgeModel()
        self.judges = Judges(self.ai, model=lambda config: self.model, **judging)
        self.reports: list[RunReport] = []
        config = self.ai.completion_config("support-bot", USER)
        self.handler = LdAiHandler(config, judges=self.judges, on_run_end=self.reports.append, **(options or {}))

    def invoke(self, subject: Runnable, value: object = QUESTION) -> object:
        """Run something to its end, and wait for its judges."""
        try:
            return subject.invoke(value, {"callbacks": [self.handler]})
        finally:
            assert self.handler.flush(10)

    @property
    def scores(self) -> list[tuple[str, float]]:
        """The scores that were sent, each with the run it counts for."""
        return [(event.data["runId"], event.value) for event in self.client.events if event.name == METRIC]

    @property
    def shown(self) -> list[str]:
        """What the judges were shown at last, of each exchange."""
        return [str(messages[-1].content).partition("\n\nAnswer with")[0] for messages in self.model.shown]


def exchange(question: str, answer: str) -> str:
    """Return how a judge is shown an exchange."""
    return f"MESSAGE HISTORY:\n{question}\n\nRESPONSE TO EVALUATE:\n{answer}"


class State(TypedDict):
    """What the nodes pass on."""

    seen: Annotated[list[str], operator.add]


def graph_of(nodes: dict[str, list[Runnable]]) -> Runnable:
    """Return a graph whose nodes call these models one after the other."""
    builder, before = StateGraph(State), START
    for name, models in nodes.items():

        def node(state: State, config, models=models, name=name) -> State:
            for number, model in enumerate(models):
                chain(model).invoke({"question": f"{name} {number}?"}, config)
            return {"seen": [name]}

        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()
