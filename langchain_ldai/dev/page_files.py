"""What the page consists of beside the runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"

_LINES: Final = """\
from ldclient import Context, LDClient
from ldclient.config import Config
from langchain_ldai import LdAiClient, LdAiHandler

url = "{url}"
client = LDClient(Config("{sdk_key}", base_uri=url, stream_uri=url, events_uri=url))
user = Context.create("user-1")
config = LdAiClient(client).{method}("{config}", user, variables={{"product": "the kettle"}})
chain.invoke(inputs, {{"callbacks": [LdAiHandler(config)]}})
client.close()  # delivers what waits
"""


def lines_to_add(url: str, modes: Mapping[str, str], *, needs_token: bool) -> str:
    """Return the lines with which a program's runs appear on the page.

    Args:
        url: Address of the server.
        modes: The mode of each AI Config that is served. The lines ask for the first that is no judge.
        needs_token: Whether the SDK key must be the server's token.
    """
    asked_for = ((key, mode) for key, mode in modes.items() if mode != "judge")
    config, mode = next(asked_for, ("support-bot", "completion"))
    sdk_key = "the token" if needs_token else "sdk-dev"
    method = "agent_graph" if mode == "graph" else f"{mode}_config"
    return _LINES.format(url=url, config=config, method=method, sdk_key=sdk_key)
