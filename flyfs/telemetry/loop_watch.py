"""How late the event loop runs, and what it was doing when it stalled. Shell: a task and a thread.

Nothing on the loop may take more than 5 ms. The task measures how late it wakes; the thread sees a stall while it lasts and
logs the stack of the loop's thread, once at 100 ms (debug) and once at 1 s (warning).
"""

import sys
import threading
import time
import traceback

import structlog
import trio

from flyfs.telemetry.latency import LatencyWindow, Quantiles

_BEAT_S = 0.05
"""20 wake-ups a second cost about 0.1 % of a core; a full window is the last 102 s."""

_log = structlog.get_logger("flyfs.telemetry")


class LoopWatch:
    """Watches the loop that runs it.

    A beat that is later than ``noted_s`` is logged as debug, one later than ``alarming_s`` as a warning.
    """

    def __init__(self, *, noted_s: float = 0.1, alarming_s: float = 1.0) -> None:
        self._noted_s = noted_s
        self._alarming_s = alarming_s
        self._lags = LatencyWindow()
        self._beaten_at = time.monotonic()
        self._loop_thread = 0
        self._ended = threading.Event()

    def lag(self) -> Quantiles:
        """How late the loop ran lately."""
        return self._lags.quantiles()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watches until cancelled; the thread ends with it, within one beat."""
        self._loop_thread = threading.get_ident()
        self._beaten_at = time.monotonic()
        self._ended.clear()
        watcher = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        watcher.start()
        task_status.started()
        try:
            while True:
                due = trio.current_time() + _BEAT_S
                await trio.sleep_until(due)
                self._beaten_at = time.monotonic()
                self._lags.add(max(0.0, trio.current_time() - due))
        finally:
            self._ended.set()  # not joined: the thread waits for this alone, and joining would stall the loop

    def _watch(self) -> None:
        logged_s = 0.0
        while not self._ended.wait(_BEAT_S):
            late_s = time.monotonic() - self._beaten_at - _BEAT_S
            if late_s < self._noted_s:
                logged_s = 0.0
            elif logged_s < self._noted_s:
                logged_s = self._noted_s
                _log.debug("loop.beat.late", late_ms=round(late_s * 1000), stack=self._stack())
            elif late_s >= self._alarming_s > logged_s:
                logged_s = self._alarming_s
                _log.warning("loop.beat.stalled", late_ms=round(late_s * 1000), stack=self._stack())

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage] - documented for this
        return "".join(traceback.format_stack(frame)) if frame else ""
