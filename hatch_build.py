"""Makes the description that the package index shows: the README, without links to files that the index lacks."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?)\[([^]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")
COMMENT = re.compile(r"<!--.*?-->\n", re.DOTALL)


def description(readme: str, address: str) -> str:
    """Return the README for the package index.

    Args:
        readme: The README.
        address: What begins the address of a file of the repository. Without one, a link becomes its text, and a
            picture goes.
    """

    def replaced(link: re.Match[str]) -> str:
        is_picture, text, target = link.groups()
        if address:
            return f"{is_picture}[{text}]({address}{target})"
        return "" if is_picture else text

    return LINK.sub(replaced, COMMENT.sub("", readme))


class ReadmeHook(MetadataHookInterface):
    """Gives the build the description; its `address` is in `pyproject.toml`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = Path(self.root, "README.md").read_text("utf-8")
        made = description(text, self.config.get("address", ""))
        metadata["readme"] = {"content-type": "text/markdown", "text": made}
