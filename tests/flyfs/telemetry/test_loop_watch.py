import threading
import time

import trio
from structlog.testing import capture_logs

from flyfs.telemetry.loop_watch import LoopWatch


def block_the_loop(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_blocked_loop_is_logged_with_what_it_was_doing() -> None:
    watch = LoopWatch(alarming_s=0.3)
    with capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch.run)
            block_the_loop(0.6)
            await trio.sleep(0.06)
            nursery.cancel_scope.cancel()

    late, stalled = logged
    assert (late["event"], late["log_level"]) == ("loop.beat.late", "debug")
    assert (stalled["event"], stalled["log_level"]) == ("loop.beat.stalled", "warning")
    assert 100 <= late["late_ms"] < stalled["late_ms"] >= 300
    assert "block_the_loop" in late["stack"]
    assert "block_the_loop" in stalled["stack"]
    assert watch.lag().p99_ms >= 300


async def test_each_stall_is_told_anew() -> None:
    watch = LoopWatch(noted_s=0.2, alarming_s=60)
    with capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch.run)
            for _ in range(2):
                block_the_loop(0.4)
                await trio.sleep(0.15)
            nursery.cancel_scope.cancel()

    assert [line["event"] for line in logged] == ["loop.beat.late"] * 2


async def test_an_idle_loop_says_nothing_and_leaves_no_thread() -> None:
    watch = LoopWatch(noted_s=60)  # a loaded machine is late without anybody's fault
    assert watch.lag().p99_ms == 0
    with capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch.run)
            await trio.sleep(0.12)
            nursery.cancel_scope.cancel()
    for thread in threading.enumerate():
        if thread.name == "loop-watch":
            thread.join(1)

    assert logged == []
    assert watch.lag().p50_ms < 60_000
    assert "loop-watch" not in {thread.name for thread in threading.enumerate()}
