"""Judges of LaunchDarkly that score answers, in the process that gave them or later in another."""

from langchain_ldai.judges.judge_task import JudgeTask
from langchain_ldai.judges.judges import Judges

__all__ = ["JudgeTask", "Judges"]
