"""A signal that interrupts a read of the FUSE device which nothing would end. Shell.

libfuse reads a blocking descriptor with the GIL held. If the request that made it readable has gone in the meantime, because
its caller was killed, the read waits for the next request and the whole process with it: no peer is served, no timer runs.
A timer signal makes that read return after a quarter of a second at most; pyfuse3 then waits for the descriptor as usual.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager

INTERVAL_S = 0.25


@contextmanager
def interrupted_reads(interval_s: float = INTERVAL_S) -> Generator[None]:
    """Lets SIGALRM interrupt blocking calls of the main thread while the block runs; does nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _interrupt(*_: object) -> None:
    """Being called is all."""
