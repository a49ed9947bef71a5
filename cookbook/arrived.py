"""What has arrived at a local LaunchDarkly, as a table for the terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from langchain_ldai.testing import RecordedEvent

UNITS = {
    "$ld:ai:duration:total": "ms",
    "$ld:ai:feedback:user:positive": "thumb",
    "$ld:ai:generation:success": "run",
    "$ld:ai:tokens:input": "tokens",
    "$ld:ai:tokens:output": "tokens",
    "$ld:ai:tokens:total": "tokens",
    "$ld:ai:tokens:ttf": "ms",
}


def run_of(event: RecordedEvent) -> str:
    """Return the id of the run that an event belongs to, "" where it belongs to none."""
    return str(event.data.get("runId", "")) if isinstance(event.data, dict) else ""


def table(sent: Mapping[str, Sequence[RecordedEvent]]) -> Table:
    """Return what each sender sent as a table of metric, value and sender."""
    shown = Table("metric", "value", "sent by")
    shown.columns[1].justify = "right"
    for sender, events in sent.items():
        for event in events:
            value = f"{event.value:g} {UNITS[event.name]}"
            shown.add_row(event.name, value, sender, end_section=event is events[-1])
    return shown
