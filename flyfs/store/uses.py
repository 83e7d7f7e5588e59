"""Who uses a blob, and which of its pieces: what must not be taken away from under somebody. Pure.

Three kinds of use. Whoever *uses* a blob keeps it from going whole, and the pieces it names from going at all. Whoever *pins*
it names all pieces (a mounted layer, say). Whoever only *keeps it open* keeps its descriptors, but the blob may go.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, Self

NO_PIECES = range(0)
Ahead = Callable[[], Sequence[range]]
"""Gives the pieces that a reader will want next, as of now."""


class Used(Protocol):
    """What can be used."""

    def use_ended(self, use: "Use") -> None:
        """One user less."""
        ...


class Use:
    """One user of a blob, from its creation to ``end``; as a context manager it ends on leaving."""

    __slots__ = ("_used", "ahead", "blocks_eviction", "pieces")

    def __init__(self, used: Used, pieces: range, *, ahead: Ahead | None = None, blocks_eviction: bool = True) -> None:
        self._used: Used | None = used
        self.pieces = pieces
        self.ahead = ahead
        self.blocks_eviction = blocks_eviction

    def end(self) -> None:
        """The blob is not used by this user any more; the second time does nothing."""
        used, self._used = self._used, None
        self.ahead = None  # which most likely refers to whoever has this
        if used is not None:
            used.use_ended(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Uses:
    """All uses of one blob."""

    __slots__ = ("_uses",)

    def __init__(self) -> None:
        self._uses: dict[Use, None] = {}

    def __bool__(self) -> bool:
        return bool(self._uses)

    def begin(self, use: Use) -> bool:
        """One user more; True where there was none."""
        self._uses[use] = None
        return len(self._uses) == 1

    def end(self, use: Use) -> bool:
        """One user less; True where none is left."""
        del self._uses[use]
        return not self._uses

    @property
    def block_eviction(self) -> bool:
        """Whether the blob must not go whole."""
        return any(use.blocks_eviction for use in self._uses)

    def pieces(self) -> list[range]:
        """The pieces that somebody is in; ranges may overlap."""
        return [use.pieces for use in self._uses if use.pieces]

    def pieces_ahead(self) -> list[range]:
        """The pieces that somebody will want next."""
        return [pieces for use in self._uses if use.ahead is not None for pieces in use.ahead()]
