"""What the handler says where it is used in a way that LangChain or LangGraph does not know."""

from collections.abc import Callable, Mapping

import pytest

from langchain_ldai import LdAiCompletionConfig, LdAiHandler
from tests.support.chains import AGENT_INPUT, QUESTION, agent, chain, search
from tests.support.models import ScriptedChat

CALLS: dict[str, Callable[[Mapping[str, object]], object]] = {
    "chain": lambda given: chain().invoke(QUESTION, given),
    "stream": lambda given: list(chain().stream(QUESTION, given)),
    "batch": lambda given: chain().batch([QUESTION], given),
    "model": lambda given: ScriptedChat().invoke("How?", given),
    "tool": lambda given: search.invoke({}, given),
    "graph": lambda given: agent().invoke(AGENT_INPUT, given),
}

TOLD = r"callbacks is a list, pass \{'callbacks': \[handler\]\} as the config"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_handler_that_is_not_in_a_list_is_told(
    call: Callable[[Mapping[str, object]], object], handler: LdAiHandler
) -> None:
    """LangChain takes it for a manager of handlers; the error says how to pass it."""
    with pytest.raises(AttributeError, match=TOLD):
        call({"callbacks": handler})


@pytest.mark.parametrize("call", [CALLS["chain"], CALLS["model"]], ids=["chain", "model"])
def test_a_handler_in_the_place_of_the_config_is_told(
    call: Callable[[object], object], handler: LdAiHandler
) -> None:
    """The config is a dictionary, and the handler goes into it."""
    with pytest.raises(AttributeError, match=TOLD):
        call(handler)


def test_any_other_attribute_is_missing_as_usual(handler: LdAiHandler) -> None:
    """The error names the attribute alone, and Python knows it for a suggestion."""
    with pytest.raises(AttributeError, match=r"^'LdAiHandler' object has no attribute 'flsh'$") as raised:
        handler.flsh  # noqa: B018

    assert (raised.value.name, raised.value.obj) == ("flsh", handler)


class Keeping(LdAiHandler):
    """A handler of an application's own, which keeps something under names that LangChain's managers have, too."""

    def __init__(self, config: LdAiCompletionConfig) -> None:
        super().__init__(config)
        self.items = self.handlers = ["kept"]


def test_a_subclass_may_have_attributes_of_these_names(config: LdAiCompletionConfig) -> None:
    """They are as free as any other name, and a handler in a list works like any other."""
    handler = Keeping(config)

    with handler.collect_runs() as runs:
        chain().invoke(QUESTION, {"callbacks": [handler]})

    assert (handler.items, handler.handlers, len(runs)) == (["kept"], ["kept"], 1)
