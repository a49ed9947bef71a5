"""The package's own version, which LaunchDarkly is told."""

from importlib.metadata import version
from typing import Final

__version__: Final = version("langchain-ldai")
