"""What a run was served: the AI Config, its variation, and whom for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from langchain_ldai._runs.trackers import GraphRunTracker, RunTracker
from langchain_ldai._wire.events import ENVIRONMENT_ID

if TYPE_CHECKING:
    from ldclient import Context


class Served(NamedTuple):
    """What a run, or a named node, was served.

    Args:
        run_id: LaunchDarkly's id of the run.
        config_key: Key of the AI Config, or of the agent graph.
        variation_key: Key of the variation, "" when unknown.
        version: Version of the variation, `None` when unknown.
        graph_key: Key of the agent graph that the run is of or belongs to, "" where there is none.
        context: Whom it was served for, `None` when unknown.
        environment_id: LaunchDarkly's id of the environment, "" when unknown.
    """

    run_id: str
    config_key: str
    variation_key: str = ""
    version: int | None = None
    graph_key: str = ""
    context: Context | None = None
    environment_id: str = ""


def served_by(tracker: RunTracker) -> Served:
    """Return what the run of a tracker was served. Only our trackers tell context and environment."""
    identity, sender = tracker.identity, tracker._sender
    return Served(
        identity.run_id,
        identity.config_key,
        identity.variation_key,
        identity.version,
        identity.config_key if isinstance(tracker, GraphRunTracker) else identity.graph_key,
        sender.context if sender is not None else None,
        sender.client.environment.get(ENVIRONMENT_ID, "") if sender is not None else "",
    )
