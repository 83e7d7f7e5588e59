"""A bounded memory of what was used last. Pure."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key; beyond ``limit`` in weight the least recently used ones leave, the newest never."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value kept for ``key``; using it keeps it longer."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int = 1) -> None:
        """Keeps ``value``."""
        self.drop(key)
        self._kept[key] = (value, weight)
        self._weight += weight
        while self._weight > self._limit and len(self._kept) > 1:
            _, (_, left) = self._kept.popitem(last=False)
            self._weight -= left

    def drop(self, key: K) -> None:
        """Forgets ``key``; not having it is fine."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._weight -= found[1]
