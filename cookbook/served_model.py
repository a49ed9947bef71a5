"""The chat model that an AI Config serves."""

from langchain_core.language_models import BaseChatModel

from langchain_ldai import LdAiAgentConfig, LdAiCompletionConfig, LdAiJudgeConfig
from local_model import LocalModel


def model_for(
    config: LdAiCompletionConfig | LdAiAgentConfig | LdAiJudgeConfig,
    answer: str = "Hold the button",
    pause: float = 0,
) -> BaseChatModel:
    """Return the chat model that an AI Config serves; if its provider is "local", the one that needs no account.

    Args:
        config: The AI Config.
        answer: What the local model answers.
        pause: How many seconds the local model takes for a word.
    """
    if config.provider.name == "local":
        return LocalModel(model=config.model.name, answer=answer, pause=pause)
    from langchain_ldai.chat_models import create_chat_model

    return create_chat_model(config)
