"""`trajectory=True`: a judge is told of the tools that a run offered and called, within bounds."""

import weakref

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_ldai import LdAiClient
from langchain_ldai.judges import Judges
from langchain_ldai.judges._trajectory import MAX_CALLS, MAX_CHARACTERS, Trajectory
from langchain_ldai.testing import RecordingClient
from tests.judges.judged import Judged
from tests.support.chains import AGENT_INPUT, agent, chain


def history_of(judged: Judged) -> str:
    """Return what the judge was shown of the question and the tools."""
    (shown,) = judged.shown
    return shown.removeprefix("MESSAGE HISTORY:\n").partition("\n\nRESPONSE TO EVALUATE:")[0]


def test_a_judge_is_told_of_tool_calls() -> None:
    """Name, arguments and result follow the question."""
    judged = Judged(trajectory=True)

    judged.invoke(agent(), AGENT_INPUT)

    assert history_of(judged) == "How?\n\nTOOL CALLED: search {}\nresult: found"


def test_a_judge_is_told_of_a_tool_that_failed() -> None:
    """The error takes the place of the result."""

    @tool
    def search(query: str) -> str:
        """Search."""
        raise ValueError("nothing found")

    judged = Judged(trajectory=True)
    asking = RunnableLambda(lambda text: {"query": text}) | search.with_fallbacks([RunnableLambda(str)])

    judged.invoke(chain() | asking)

    called = 'TOOL CALLED: search {"query":"Hello, world"}'
    assert history_of(judged) == f"How?\n\n{called}\nerror: ValueError: nothing found"


def test_arguments_are_compact_json_with_sorted_keys() -> None:
    """They are written as they are, without escapes."""
    trajectory = Trajectory()
    trajectory.call(1, "search", {"inputs": {"b": 1, "a": "é"}})
    trajectory.end(1, {"found": ["x"]})

    assert str(trajectory) == 'TOOL CALLED: search {"a":"é","b":1}\nresult: {"found":["x"]}'


ITSELF: dict[str, object] = {}
ITSELF["again"] = ITSELF
NOT_JSON = {
    "a key that is no text": {(1, 2): "x"},
    "keys that have no order": {1: "x", "a": "y"},
    "what holds itself": ITSELF,
}


@pytest.mark.parametrize("value", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_no_json_is_shown_as_text(value: object) -> None:
    """A judge is not told that a tool gave nothing back, or was not called, since JSON has no form for it."""
    trajectory = Trajectory()
    trajectory.call(1, "search", {"inputs": value})
    trajectory.end(1, value)

    assert str(trajectory) == f"TOOL CALLED: search {value}\nresult: {value}"


def test_nothing_is_told_unless_it_is_wanted() -> None:
    """By default no tool data goes to another model."""
    judged = Judged()

    judged.invoke(agent(), AGENT_INPUT)

    assert history_of(judged) == "How?"


def test_nothing_is_told_without_tools() -> None:
    """A chain without tools has no trajectory."""
    judged = Judged(trajectory=True)

    judged.invoke(chain())

    assert history_of(judged) == "How?"


OFFERED = [
    {"type": "function", "function": {"name": "search"}},
    {"name": "look_up", "input_schema": {}},
    {"type": "function", "function": {"name": "__handoff_sales"}},
    {"type": "web_search_20250305", "name": "web_search"},
    {"type": "function", "function": "broken"},
    "search",
]


def test_the_tools_offered_are_named() -> None:
    """Handoffs and the provider's own tools are left out; that no tool was called is said."""
    trajectory = Trajectory()

    trajectory.offer(OFFERED)
    trajectory.offer(None)
    trajectory.offer("search")

    assert str(trajectory) == "TOOLS OFFERED: search, look_up\nNo tool was called."


def test_a_trajectory_is_bounded() -> None:
    """So many calls are shown, of each value so many characters; the rest is counted."""
    trajectory = Trajectory()
    for number in range(MAX_CALLS + 2):
        trajectory.call(number, "search", {"asked": "x" * 3 * MAX_CHARACTERS})
        trajectory.end(number, {"found": [object]})
    trajectory.call(0, "search", {"asked": "again"})

    text = str(trajectory)

    assert text.count("TOOL CALLED") == MAX_CALLS
    assert text.count("(cut, 4,002 characters more)") == MAX_CALLS
    assert text.endswith("... and 2 further tool calls")
    assert len(text) < MAX_CALLS * 2 * MAX_CHARACTERS


def test_an_endless_run_keeps_nothing_of_a_further_call() -> None:
    """An agent may call tools for days, and its judge is told of the first ones alone."""
    trajectory = Trajectory()
    for number in range(MAX_CALLS):
        trajectory.call(number, "search", {})
    keys = [type("Key", (), {})() for _ in range(3)]
    kept = [weakref.ref(key) for key in keys]

    for key in keys:
        trajectory.call(key, "search", {})
        trajectory.end(key, "found")
    del key
    keys.clear()

    assert [each() for each in kept] == [None] * 3
    assert str(trajectory).endswith("... and 3 further tool calls")


def test_a_call_that_never_ended_has_no_result() -> None:
    """What is not known is said."""
    trajectory = Trajectory()
    trajectory.call(1, "search", {"inputs": {}})

    assert str(trajectory) == "TOOL CALLED: search {}\nno result"


def test_a_trajectory_is_wanted_or_not() -> None:
    """Anything else is refused."""
    with pytest.raises(TypeError, match="trajectory is True or False"):
        Judges(LdAiClient(RecordingClient()), model=print, trajectory="yes")
