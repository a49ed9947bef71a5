"""What judges cost a run that is not drawn for one, counted and not timed."""

from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from tests.judges.judge_models import JudgeModel, flags_with
from tests.runs.test_cost import ForgetfulClient
from tests.support.chains import QUESTION, chain
from tests.support.cost import bytecodes

RARE = 1e-9
"""A share of runs of which a test draws none."""


def run_price(rate: float, *, has_judges: bool) -> int:
    """Return the fewest bytecodes of a run whose AI Config has a judge of this rate."""
    ai = LdAiClient(ForgetfulClient(flags_with(accuracy=rate)))
    judges = Judges(ai, model=lambda config: JudgeModel()) if has_judges else None
    handler = LdAiHandler(ai.completion_config("support-bot", Context.create("user-1")), judges=judges)
    subject = chain()
    subject.invoke(QUESTION, {"callbacks": [handler]})
    return min(bytecodes(lambda: subject.invoke(QUESTION, {"callbacks": [handler]})) for _ in range(3))


def test_judges_cost_next_to_nothing_where_none_is_drawn() -> None:
    """A run that is not drawn executes at most 2 % more bytecodes than without judges."""
    assert run_price(RARE, has_judges=True) <= 1.02 * run_price(RARE, has_judges=False)
