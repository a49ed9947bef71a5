"""What the page consists of beside the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"

_LINES: Final = """\
from ldclient import Context, LDClient
from ldclient.config import Config
from langchain_ldai import LdAiClient, LdAiHandler

url = "{url}"
client = LDClient(Config("{sdk_key}", base_uri=url, stream_uri=url, events_uri=url))
config = LdAiClient(client).completion_config("{config}", Context.create("user-1"))
chain.invoke(inputs, {{"callbacks": [LdAiHandler(config)]}})
client.close()  # delivers what waits
"""


def lines_to_add(url: str, config: str, *, needs_token: bool) -> str:
    """Return the lines with which a program's runs appear on the page."""
    return _LINES.format(url=url, config=config, sdk_key="the token" if needs_token else "sdk-dev")
