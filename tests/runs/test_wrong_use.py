"""What the handler says where it is used in a way that LangChain or LangGraph does not know."""

from collections.abc import Callable, Mapping

import pytest

from langchain_ldai import LdAiHandler
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
