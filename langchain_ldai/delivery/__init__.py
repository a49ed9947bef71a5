"""Delivers LaunchDarkly's events also after a crash or an outage: they wait in files until they are accepted."""

from langchain_ldai.delivery._pipeline import DeliveryStats
from langchain_ldai.delivery.durable_events import DurableEvents

__all__ = ["DeliveryStats", "DurableEvents"]
