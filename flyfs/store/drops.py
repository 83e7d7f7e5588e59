"""Pieces of one blob that go: no *have* any more, their mark taken back, their room free; then they can be written again. Shell.

``write_order`` decides when each step is taken; here is who waits for it, and what becomes of a piece afterwards.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from flyfs.core.ids import PieceIndex
from flyfs.store.coldness import Coldness
from flyfs.store.services import StoreServices
from flyfs.store.uses import Uses

if TYPE_CHECKING:
    from flyfs.store.stored_blob import StoredBlob


class _Drop:
    """Pieces that go together."""

    __slots__ = ("done", "freed_bytes", "going", "sound", "used")

    def __init__(self, going: Sequence[PieceIndex], sound: frozenset[PieceIndex], used: frozenset[PieceIndex]) -> None:
        self.going = set(going)
        self.sound = sound  # marked, and right: they are held again where the mark cannot be taken back
        self.used = used  # somebody is in them: nobody may find a hole under him
        self.freed_bytes = 0
        self.done = trio.Event()


class Drops:
    """What goes of one blob, and what may go."""

    def __init__(self, stored: "StoredBlob", uses: Uses, coldness: Coldness, services: StoreServices) -> None:
        self._stored = stored
        self._uses = uses
        self._coldness = coldness
        self._services = services
        self._drops: dict[PieceIndex, _Drop] = {}

    def __contains__(self, piece: PieceIndex) -> bool:
        return piece in self._drops

    @property
    def droppable_bytes(self) -> int:
        """About how much may go: what is held, less what somebody is in or wants next."""
        spared = sum(map(len, self._spared()))
        return max(0, self._stored.have.count - spared) * self._stored.blob.piece_size

    def _spared(self) -> list[range]:
        return self._uses.pieces() + self._uses.pieces_ahead()

    async def drop_coldest(self, size: int) -> int:
        """As ``drop``, of at least ``size`` bytes of the coldest pieces that nobody is in or wants next."""
        count = -(-size // self._stored.blob.piece_size)
        return await self.drop(self._coldness.take_coldest(count, self._spared()))

    async def drop(self, pieces: Iterable[PieceIndex], *, damaged: bool = False) -> int:
        """See ``StoredBlob.drop_pieces``."""
        drop = self._begin(pieces, damaged=damaged)
        if drop is None:
            return 0
        await drop.done.wait()
        return drop.freed_bytes

    def pieces_damaged(self, pieces: Iterable[PieceIndex]) -> None:
        """Those that are held are held no more, for good; nobody waits until their marks are gone."""
        self._begin(pieces, damaged=True)

    def _begin(self, pieces: Iterable[PieceIndex], *, damaged: bool) -> _Drop | None:
        stored = self._stored
        going = [piece for piece in pieces if piece in stored.have]
        if not going or stored.dropped:
            return None
        sound = frozenset(piece for piece in going if piece in stored.durable and not damaged)
        used = self._uses.pieces()
        drop = _Drop(going, sound, frozenset(piece for piece in going if any(piece in one for one in used)))
        self._drops.update(dict.fromkeys(going, drop))
        for piece in going:
            stored.forget(piece)
            stored.durable.discard(piece)
        self._services.ordering.pieces_dropped(stored, going)
        return drop

    def end_of(self, piece: PieceIndex) -> trio.Event:
        """Set once a piece that is on its way out can be written again, and all that go with it."""
        return self._drops[piece].done

    def to_free(self, pieces: Iterable[PieceIndex]) -> list[PieceIndex]:
        """Those whose room may be given back: nobody was in them when they were dropped."""
        return [piece for piece in pieces if piece in self._drops and piece not in self._drops[piece].used]

    def ended(self, pieces: Iterable[PieceIndex], *, freed: bool) -> None:
        """Their marks, and their room, are gone; or (``freed`` is False) their marks could not be taken back."""
        stored, space = self._stored, self._services.space
        for piece in pieces:
            drop = self._drops.get(piece)
            if drop is not None:
                if not freed and piece in drop.sound:
                    stored.hold(piece)
                    stored.durable.add(piece)
                else:  # what was not freed lies in its place until it is written again, and is not counted meanwhile
                    size = stored.blob.grid.length_of(piece)
                    space.lose(stored.blob.id, size)
                    drop.freed_bytes += size if freed else 0
                self._end(piece, drop)
        self._services.lost(stored.blob.id)

    def abandon(self) -> None:
        """The whole blob goes: nobody waits for its pieces any more."""
        for piece, drop in tuple(self._drops.items()):
            self._end(piece, drop)

    def _end(self, piece: PieceIndex, drop: _Drop) -> None:
        del self._drops[piece]
        drop.going.discard(piece)
        if not drop.going:
            drop.done.set()
