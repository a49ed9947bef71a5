"""What judges cost a run that is not drawn for one, counted and not timed."""

from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.judges import Judges
from tests.judges.judge_models import JudgeModel, flags_with
from tests.support.cost import ForgetfulClient, run_price


def test_judges_cost_next_to_nothing_where_none_is_drawn() -> None:
    """A run that is not drawn executes at most 2 % more bytecodes than without judges."""
    ai = LdAiClient(ForgetfulClient(flags_with(accuracy=1e-9)))
    config = ai.completion_config("support-bot", Context.create("user-1"))
    judges = Judges(ai, model=lambda config: JudgeModel())

    assert run_price(LdAiHandler(config, judges=judges)) <= 1.02 * run_price(LdAiHandler(config))
