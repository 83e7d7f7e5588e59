"""One flight per question, however many ask it at the same time. Shell.

The first caller does the work in its own task; the others wait for its outcome. Where that caller is cancelled, one of the
waiting ones does the work again.
"""

from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import trio

from flyfs.core.errors import FlyfsError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Flight(Generic[V]):
    """An outcome that is being worked for: a value, an error, or nothing where the worker was cancelled."""

    __slots__ = ("ended", "error", "values")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.values: list[V] = []
        self.error: FlyfsError | None = None


class SingleFlight(Generic[K, V]):
    """The flights under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def fly(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The outcome of ``work``, or of the one that already runs for ``key``.

        Raises:
            FlyfsError: as the work that ran.
        """
        while (flight := self._flights.get(key)) is not None:
            await flight.ended.wait()
            if flight.error is not None:
                raise flight.error
            if flight.values:
                return flight.values[0]
        flight = self._flights[key] = _Flight()
        try:
            value = await work()
            flight.values.append(value)
        except FlyfsError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.ended.set()
        return value
