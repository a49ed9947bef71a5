"""Which event loop runs."""

import asyncio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, `None` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
