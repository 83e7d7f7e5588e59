"""What origins said of names: answered from memory while fresh, asked once however many want to know. Shell.

Ten thousand mounts that look at one name are one request. The question itself runs in a task of its own, so that an asker
who leaves takes nothing away from the others.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
import trio

from flyfs.core.errors import FlyfsError, NotFound, Unavailable

JOIN_S = 0.1
"""Questions that want no old answer at all, within this time, share one."""

FAILURE_LASTS_S = 1.0
"""How long "it cannot be known now" is told again without asking."""

log = structlog.get_logger(__name__)

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Known(Generic[Answer]):
    asked_at: float
    told_at: float
    answer: Answer | FlyfsError

    def serves(self, since: float, now: float, max_age_s: float, lasts_s: float) -> bool:
        """Whether it is an answer for somebody who wants to know since ``since``.

        An answer is as old as its question, because nobody knows when the origin looked; a failure is as old as its news,
        because it may have taken long to fail, and would not help for a moment otherwise.
        """
        if isinstance(self.answer, FlyfsError) and not isinstance(self.answer, NotFound):
            return self.told_at >= since or now - self.told_at <= FAILURE_LASTS_S
        return since - self.asked_at <= max(max_age_s, JOIN_S) or now - self.told_at <= lasts_s


class AnswersCache(Generic[Key, Answer]):
    """Answers by key, each with its age."""

    def __init__(self, nursery: trio.Nursery, most: int, *, lasts_s: float = -1.0) -> None:
        """``lasts_s``: for how long after it came an answer serves everybody, because it may take longer than they wait."""
        self._nursery = nursery
        self._lasts_s = lasts_s
        self._most = most
        self._known: OrderedDict[Key, _Known[Answer]] = OrderedDict()
        self._asking: dict[Key, trio.Event] = {}

    def peek(self, key: Key) -> Answer | None:
        """The last good answer, however old."""
        known = self._known.get(key)
        return None if known is None or isinstance(known.answer, FlyfsError) else known.answer

    def _put(self, key: Key, asked_at: float, answer: Answer | FlyfsError) -> None:
        self._known[key] = _Known(asked_at, trio.current_time(), answer)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, key: Key) -> None:
        """The answer is known to be wrong."""
        self._known.pop(key, None)

    async def ask(self, key: Key, max_age_s: float, question: Callable[[], Awaitable[Answer]]) -> tuple[Answer, float]:
        """The answer and its age in seconds; ``question`` is asked where none is fresh.

        Raises:
            FlyfsError: what the question raised; "certainly not" is fresh as long as an answer, "unknown" for a second.
        """
        since = trio.current_time()
        while True:
            known = self._known.get(key)
            now = trio.current_time()
            if known is not None and known.serves(since, now, max_age_s, self._lasts_s):
                if isinstance(known.answer, FlyfsError):
                    raise known.answer.with_traceback(None)  # else it would collect the frames of all who heard it
                return known.answer, now - known.asked_at
            asking = self._asking.get(key)
            if asking is None:
                asking = self._asking[key] = trio.Event()
                self._nursery.start_soon(self._run, key, asking, question)
            await asking.wait()

    async def _run(self, key: Key, asking: trio.Event, question: Callable[[], Awaitable[Answer]]) -> None:
        asked_at = trio.current_time()
        try:
            self._put(key, asked_at, await question())
        except FlyfsError as error:
            self._put(key, asked_at, error)
        except Exception:
            log.exception("cdn.question.crashed")  # a bug costs who asks, not the supernode
            self._put(key, asked_at, Unavailable("internal error; see the supernode's log"))
        except trio.Cancelled:
            self._put(key, asked_at, Unavailable("the supernode is going away"))
            raise
        finally:
            del self._asking[key]
            asking.set()
