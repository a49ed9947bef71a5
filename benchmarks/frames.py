"""`make frames` counts the package's Python frames, and their files, in a root's start and in a whole run.

`sys.setprofile` sees each call. The client that records events is part of the package: its frames count too.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final
from uuid import uuid4

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.prompts import ChatPromptTemplate
from ldclient import Context

import langchain_ldai
from langchain_ldai import LdAiClient, LdAiHandler
from langchain_ldai.testing import RecordingClient

PACKAGE: Final = Path(langchain_ldai.__file__).parent
Frames = list[tuple[str, str]]
"""The file and the function of each frame, in order."""


def frames(call: Callable[[], object]) -> Frames:
    """Return the package's frames that a call enters."""
    entered: Frames = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            entered.append((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return entered


def measured() -> dict[str, Frames]:
    """Return the frames of a root's start and of `prompt | model`, after one run has loaded everything."""
    usage = UsageMetadata(input_tokens=10, output_tokens=3, total_tokens=13)
    model = GenericFakeChatModel(messages=itertools.repeat(AIMessage("Hold the button", usage_metadata=usage)))
    client = RecordingClient({"support-bot": {"_ldMeta": {"enabled": True}, "model": {"name": "small-1"}}})
    handler = LdAiHandler(LdAiClient(client).completion_config("support-bot", Context.create("user-1")))
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | model

    def invoke() -> None:
        chain.invoke({"question": "How?"}, {"callbacks": [handler]})

    def start() -> None:
        handler.on_chain_start({}, {}, run_id=uuid4(), metadata={})

    invoke()
    return {"start of a root": frames(start), "prompt | model": frames(invoke)}


def main() -> None:
    """Print the counts, then each frame of a root's start."""
    counted = measured()
    for name, entered in counted.items():
        sys.stdout.write(f"{name}: {len(entered)} frames in {len({file for file, _ in entered})} files\n")
    for file, function in counted["start of a root"]:
        sys.stdout.write(f"  {file}: {function}\n")


if __name__ == "__main__":
    main()
