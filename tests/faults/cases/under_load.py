"""More events than a buffer holds."""

import time
from typing import Final

from tests.faults.case import Table
from tests.faults.loads import close_when_told
from tests.faults.scene import Scene

TABLE: Final = Table()


def _buffer(scene: Scene) -> int:
    """Return how many events the SDK buffers: at full size, its default."""
    return scene.size(full=10_000, small=500)


@TABLE.case("500 runs a second for a minute, then close()")
def steady_load(scene: Scene) -> None:
    """A run sends six events, and the SDK's buffer holds 10,000."""
    scene.change_target(flush_interval=scene.size(full=5.0, small=1.0), max_pending=_buffer(scene))
    scene.finish(scene.start(lane="runs", count=scene.size(full=30_000, small=250), rate=500))


@TABLE.case("60,000 events at once from 8 threads")
def burst(scene: Scene) -> None:
    """Each thread sends as fast as it can."""
    scene.change_target(max_pending=_buffer(scene), flush_interval=scene.size(full=5.0, small=60.0))
    scene.finish(scene.start(lane="burst", count=scene.size(full=7_500, small=1_000), threads=8))


@TABLE.case("LaunchDarkly is away for five minutes, under load")
def away_under_load(scene: Scene) -> None:
    """Runs go on before, meanwhile and after."""
    rate, seconds = scene.size(full=50, small=100), scene.size(full=300, small=1.5)
    count = int(rate * (seconds + scene.size(full=20, small=1)))
    worker = scene.start(lane="runs", count=count, rate=rate, end=close_when_told)
    scene.wait_until_done("runs", int(scene.size(full=500, small=30)))
    with scene.launchdarkly.away():
        time.sleep(seconds)
    scene.wait_until_done("runs", count)
    scene.say_over()
    scene.finish(worker)
