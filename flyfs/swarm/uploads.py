"""The side of a peer that serves others: pieces by ``sendfile``, bitmaps, and news of what was gained. Shell.

News to neighbours go out at once after a quiet moment, and are coalesced for 50 ms else: each 100 ms of delay costs the swarm
about one per cent.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import trio

from flyfs.core.bitmap import runs_of
from flyfs.core.errors import Stale, StoreFull, Unavailable
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store.reader import PiecesLost
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.offers import is_offered, offered
from flyfs.swarm.upload_slots import RETRY_AFTER_S, UploadSlots, Verdict
from flyfs.transport.greeting import Greeted
from flyfs.transport.link import Answer, FileRange, Link
from flyfs.wire.messages import Busy, Digests, Done, Follow, GetDigests, GetPiece, Have, Holdings, Message, NotHeld, Piece, Ping

ANNOUNCE_EVERY_S = 0.05
DEAF_AFTER_S = 5.0
"""A follower that takes no news for this long is cut off; it dials again when it wants to."""


class Shelf(Protocol):
    """Where served blobs are found."""

    def find(self, blob_id: BlobId) -> StoredBlob | None:
        """The blob, None where it is not in the store."""
        ...


@dataclass(slots=True)
class _News:
    gained: list[PieceIndex] = field(default_factory=list)
    durable: list[PieceIndex] = field(default_factory=list)

    def add(self, other: "_News") -> None:
        self.gained += other.gained
        self.durable += other.durable


class _Turn:
    """One request that waits for its turn."""

    __slots__ = ("came",)

    def __init__(self) -> None:
        self.came = trio.Event()


class Announcer:
    """Tells what was gained: to the supernode, and to each connection that follows the blob."""

    def __init__(self, tell_supernode: Callable[[BlobId, Message], Awaitable[None]]) -> None:
        self._tell_supernode = tell_supernode
        self._followers: dict[BlobId, set[Link]] = {}
        self._news: dict[BlobId, _News] = {}
        self._supernode_news: dict[BlobId, _News] = {}
        self._supernode_due: dict[BlobId, float] = {}  # when it may be told again
        self._every_s: dict[BlobId, float] = {}
        self._happened = trio.Event()

    def piece_gained(self, blob_id: BlobId, piece: PieceIndex, durable: bool) -> None:
        """The store has a piece, or marked it durable."""
        news = self._news.setdefault(blob_id, _News())
        (news.durable if durable else news.gained).append(piece)
        self._happened.set()

    def tell_supernode_every(self, blob_id: BlobId, seconds: float) -> None:
        """How often the supernode wants to hear of a blob, at most; 0 for as often as neighbours do."""
        if seconds:
            self._every_s[blob_id] = seconds
        else:
            self._every_s.pop(blob_id, None)
            if blob_id not in self._supernode_news:
                self._supernode_due.pop(blob_id, None)

    def follow(self, blob_id: BlobId, link: Link) -> None:
        """From now on ``link`` hears of the blob."""
        self._followers.setdefault(blob_id, set()).add(link)

    def unfollow(self, link: Link) -> None:
        """A connection ended."""
        for blob_id in [blob_id for blob_id, links in self._followers.items() if link in links]:
            self._followers[blob_id].discard(link)
            if not self._followers[blob_id]:
                del self._followers[blob_id]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Announces for ever."""
        async with trio.open_nursery() as nursery:  # a follower that reads slowly must not hold up the others
            task_status.started()
            while True:
                with trio.move_on_at(min((self._supernode_due[one] for one in self._supernode_news), default=inf)):
                    await self._happened.wait()
                self._happened = trio.Event()
                self._announce(nursery, trio.current_time())
                await trio.sleep(ANNOUNCE_EVERY_S)

    def _announce(self, nursery: trio.Nursery, now: float) -> None:
        news, self._news = self._news, {}
        for blob_id, one in news.items():
            for message in _messages(blob_id, one):
                if not message.durable:
                    for link in self._followers.get(blob_id, ()):
                        nursery.start_soon(_tell, link, message)
            self._supernode_news.setdefault(blob_id, _News()).add(one)
            self._supernode_due.setdefault(blob_id, now)
        for blob_id in [one for one in self._supernode_news if self._supernode_due[one] <= now]:
            every_s = self._every_s.get(blob_id)
            if every_s is None:
                del self._supernode_due[blob_id]
            else:
                self._supernode_due[blob_id] = now + every_s
            for message in _messages(blob_id, self._supernode_news.pop(blob_id)):
                nursery.start_soon(self._tell_supernode, blob_id, message)


def _messages(blob_id: BlobId, news: _News) -> list[Have]:
    told = ((news.gained, False), (news.durable, True))
    return [Have(blob_id=blob_id, runs=runs_of(sorted(pieces)), durable=durable) for pieces, durable in told if pieces]


async def _tell(link: Link, message: Message) -> None:
    with trio.move_on_after(DEAF_AFTER_S) as scope:
        try:
            await link.send(message)
        except Unavailable:
            return
    if scope.cancelled_caught:
        link.close("it does not read what it asked for")


class Uploads:
    """Serves the store to connected peers."""

    def __init__(
        self, shelf: Shelf, announcer: Announcer, keys: Callable[[], Collection[bytes]], served: Callable[[int], None]
    ) -> None:
        """``keys`` are those whose word others believe, as far as we know; ``served`` counts the payload bytes that left."""
        self._shelf = shelf
        self._announcer = announcer
        self._keys = keys
        self._served = served
        self._slots: UploadSlots[Link, _Turn] = UploadSlots()

    async def session(self, greeted: Greeted) -> None:
        """One connection of another peer, until it ends."""
        try:
            await greeted.link.run(self._handle)
        finally:
            self._announcer.unfollow(greeted.link)

    async def _handle(self, link: Link, message: Message) -> Answer | None:
        match message:
            case GetPiece():
                return await self._piece(link, message)
            case Follow(blob_id=blob_id):
                stored = self._shelf.find(blob_id)
                if stored is None:
                    return Answer(Holdings(have=b"", durable=b""))
                self._announcer.follow(blob_id, link)
                have = offered(stored, self._keys())
                return Answer(Holdings(have=have.to_bytes(), durable=stored.durable.to_bytes()))
            case GetDigests(blob_id=blob_id, page=page):
                stored = self._shelf.find(blob_id)
                return Answer(Digests(batches=stored.manifest.batches(page) if stored else ()))
            case Ping():
                return Answer(Done())
            case _:
                raise Unavailable(f"a peer does not serve {type(message).__name__}")

    async def _piece(self, link: Link, message: GetPiece) -> Answer:
        stored = self._shelf.find(message.blob_id)
        if stored is None or message.piece >= len(stored.blob.grid):
            return Answer(NotHeld())
        if not is_offered(stored, PieceIndex(message.piece), self._keys()):
            return Answer(NotHeld())
        piece = PieceIndex(message.piece)
        place = stored.blob.grid.range_of(piece)
        proof = stored.manifest.batch_for(piece) if message.proof else None
        use = stored.use(range(piece, piece + 1))  # it must not go while it waits for its turn, nor while it is sent
        try:
            if not await self._wait_turn(link, demand=message.demand):
                use.end()
                return Answer(Busy(retry_after_s=RETRY_AFTER_S))
        except BaseException:
            use.end()
            raise

        def after(through: bool) -> None:
            use.end()
            self._call(self._slots.ended(link))
            if through:
                self._served(len(place))

        if piece not in stored.have:  # a disk that failed took it back
            after(through=False)
            return Answer(NotHeld())
        try:
            await stored.bring_into_page_cache(place.start, place.stop)
            body = FileRange(stored.fileno, place.start, place.stop)
        except (PiecesLost, Stale, StoreFull):  # its disk lost it: no fault of this peer, as it says so
            after(through=False)
            return Answer(NotHeld())
        except BaseException:
            after(through=False)
            raise
        return Answer(Piece(piece=piece, length=len(place), proof=proof), body, after)

    async def _wait_turn(self, link: Link, *, demand: bool) -> bool:
        """Whether the piece may be sent, now that this returns; then ``ended`` has to follow."""
        turn = _Turn()
        match self._slots.ask(link, turn, demand=demand):
            case Verdict.BEGIN:
                return True
            case Verdict.REFUSE:
                return False
            case Verdict.WAIT:
                try:
                    await turn.came.wait()
                except BaseException:
                    self._call(self._slots.ended(link) if turn.came.is_set() else self._slots.withdrawn(link, turn))
                    raise
                return True

    @staticmethod
    def _call(turns: Sequence[_Turn]) -> None:
        for turn in turns:
            turn.came.set()
