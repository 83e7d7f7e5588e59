"""What the control tree and ``statfs`` tell, asked from the daemon: always answered from memory. Pure: a Protocol and a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Room in the store, in bytes: what it may hold, and what of that is free."""

    total_bytes: int
    free_bytes: int


class Figures(Protocol):
    """The daemon's figures; none of these waits for anything."""

    def status(self) -> Mapping[str, object]:
        """The status document (JSON-ready)."""
        ...

    def supernodes(self) -> Sequence[str]:
        """One line per supernode."""
        ...

    def peers(self) -> Sequence[str]:
        """One line per known peer."""
        ...

    def space(self) -> Space:
        """Room in the store."""
        ...
