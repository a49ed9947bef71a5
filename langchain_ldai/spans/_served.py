"""The attributes that say what a run was served."""

from __future__ import annotations

import json
from operator import attrgetter

from ldclient import Context

from langchain_ldai._runs.trackers import Served
from langchain_ldai.spans import _names
from langchain_ldai.spans._json import sendable


def run_attributes(served: Served) -> dict[str, str]:
    """Return which run, of which AI Config and variation, a span belongs to."""
    found = {
        _names.OPERATION_TYPE: _names.GEN_AI,
        _names.RUN_ID: served.run_id,
        _names.CONFIG_KEY: served.config_key,
        _names.VARIATION_KEY: served.variation_key,
    }
    if served.graph_key:
        found[_names.GRAPH_KEY] = served.graph_key
    return sendable(found)


def context_attributes(served: Served) -> dict[str, str]:
    """Return the key of each kind of the context, as a run's root span has them."""
    return sendable({f"{_names.CONTEXT_KEYS}.{kind}": key for kind, key in _keys(served.context).items()})


def flag_attributes(served: Served) -> dict[str, str]:
    """Return the attributes of a run's `feature_flag` event: what is unknown is left out."""
    context, keys = served.context, _keys(served.context)
    found = {
        _names.FLAG_KEY: served.config_key,
        _names.FLAG_PROVIDER_NAME: _names.LAUNCHDARKLY,
        _names.FLAG_SET_ID: served.environment_id,
        _names.FLAG_CONTEXT_ID: str(context.fully_qualified_key) if context is not None and keys else "",
        _names.FLAG_CONTEXT_KEYS: json.dumps(keys, separators=(",", ":"), ensure_ascii=False) if keys else "",
        _names.FLAG_VARIANT: served.variation_key,
        _names.FLAG_VERSION: "" if served.version is None else str(served.version),
    }
    return sendable({name: value for name, value in found.items() if value})


def _keys(context: Context | None) -> dict[str, str]:
    """Return the key of each kind, sorted by kind; as a text, which LaunchDarkly's client does not ask for."""
    if context is None:
        return {}
    each = filter(None, map(context.get_individual_context, range(context.individual_context_count)))
    return {one.kind: str(one.key) for one in sorted(each, key=attrgetter("kind")) if one.key is not None}
