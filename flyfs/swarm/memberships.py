"""Which supernode knows what this peer holds of which blob: joined, told news, moved to another one. Shell.

A blob that is being read stays where it is until that supernode is lost; then the next one hears the whole bitmap before it is
asked for pieces. Blobs that nobody reads are offered to the one that is responsible for them, and return to it when it has
settled.
"""

from collections.abc import Collection
from math import inf
from typing import Protocol

import structlog
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.errors import FlyfsError
from flyfs.core.ids import BlobId
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.session import SupernodeSession
from flyfs.swarm.supernodes import Supernodes
from flyfs.wire.messages import Join, Joined, Leave, Message

JOINING_AT_ONCE = 8
"""Offers on their way at a time: a round trip each, and one may have thousands of blobs."""

TAKEOVER_S = 15.0
"""When a supernode has fallen silent, peers with nothing to wait for find out within their idle pause and a ping's time."""

_SLICE = 32
"""Blobs looked at before others get their turn: each costs some 20 µs."""

log = structlog.get_logger(__name__)


class Reading(Protocol):
    """The blobs that are being read, and who reads them."""

    def reading(self) -> Collection[BlobId]:
        """Which blobs are being read."""
        ...

    def stored(self, blob_id: BlobId) -> StoredBlob | None:
        """One that is being read, though the store may have no room for any of it."""
        ...

    def supernode_came(self, blob_id: BlobId, *, crowded: bool | None) -> None:
        """From now on there is a supernode that can be asked for pieces of the blob; ``crowded`` is None until it says."""
        ...

    def supernode_left(self, blob_id: BlobId) -> None:
        """There is none for the moment."""
        ...

    def joining(self, stored: StoredBlob) -> Bitmap:
        """A supernode is about to hear what we offer, which this gives; what comes later is news."""
        ...

    def joined(self, stored: StoredBlob, answer: Joined) -> None:
        """It knows, names neighbours, and says how many read."""
        ...


class Memberships:
    """Homes of blobs. ``run`` must be running."""

    def __init__(
        self, store: Store, supernodes: Supernodes, listener: Reading, *, origin_stands_in: bool, timeout_s: float
    ) -> None:
        """``timeout_s`` is what a supernode gets to take a blob up; ``origin_stands_in`` where none answers."""
        self._store = store
        self._supernodes = supernodes
        self._listener = listener
        self._origin_stands_in = origin_stands_in
        self._timeout_s = timeout_s
        self._homes: dict[BlobId, SupernodeSession] = {}
        self._taken_over: dict[BlobId, float] = {}  # of those that are being read: when another supernode than before got it
        self._served: set[BlobId] = set()  # of those that are being read: the listener knows that there is a supernode
        self._stirred = trio.Event()
        self._joining = trio.CapacityLimiter(JOINING_AT_ONCE)
        self._nursery: trio.Nursery | None = None

    def home(self, blob_id: BlobId) -> SupernodeSession | None:
        """The supernode that was told of a blob."""
        return self._homes.get(blob_id)

    def taken_over_lately(self, blob_id: BlobId) -> bool:
        """Whether its supernode may not have heard yet of everybody who holds some of it."""
        return trio.current_time() - self._taken_over.get(blob_id, -TAKEOVER_S) < TAKEOVER_S

    async def tell(self, blob_id: BlobId, message: Message) -> None:
        """Sends news of a blob to whom it concerns; lost where that is nobody, because a new home hears the whole state."""
        home = self._homes.get(blob_id)
        if home is not None:
            await home.tell(message)

    # -- events --------------------------------------------------------------------------------------------------------

    def reading_began(self, stored: StoredBlob) -> None:
        """Somebody reads the blob; where its supernode is there, it can be asked at once."""
        blob = stored.blob
        home = self._homes.get(blob.id)
        session, _ = self._supernodes.choose(blob.url)
        if session is None:
            self._homes.pop(blob.id, None)
            self.stir()  # it is being looked for
            return
        joins = session is not home or not stored.have.complete
        if joins:
            self._move(stored, session)
            self._start_join(stored, session)
        self._served.add(blob.id)
        self._listener.supernode_came(blob.id, crowded=None if joins else False)

    def reading_ended(self, blob_id: BlobId) -> None:
        """Nobody reads it any more: it may return to the one that is responsible."""
        self._served.discard(blob_id)
        self._taken_over.pop(blob_id, None)
        if blob_id in self._homes:
            self.stir()

    async def lost(self, blob_id: BlobId, left: StoredBlob | None) -> None:
        """A blob shrank to what is ``left``, or went (None): its supernode hears the whole of it anew."""
        home = self._homes.get(blob_id)
        if home is None:
            return
        if left is not None:
            await self._join(left, home)
            return
        del self._homes[blob_id]
        await home.tell(Leave(blob_id=blob_id))

    def dropped(self, blob_id: BlobId) -> None:
        """The blob is gone from the store."""
        self._homes.pop(blob_id, None)

    def session_left(self, session: SupernodeSession) -> None:
        """What it was told of is told to others; first what is being read."""
        for blob_id in [blob_id for blob_id, home in self._homes.items() if home is session]:
            del self._homes[blob_id]
            if blob_id in self._served:
                self._taken_over[blob_id] = trio.current_time()
            self._lose_source(blob_id)
        self.stir()

    def _lose_source(self, blob_id: BlobId) -> None:
        if blob_id in self._served:
            self._served.discard(blob_id)
            self._listener.supernode_left(blob_id)

    def stir(self) -> None:
        """Something changed: look again who belongs where."""
        self._stirred.set()

    # -- settling ------------------------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Brings each blob to its supernode, for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                self._stirred = trio.Event()
                again = min(self._settle_reading(), await self._settle_idle())
                with trio.move_on_at(again):
                    await self._stirred.wait()

    def _settle_reading(self) -> float:
        """Finds a supernode for each blob that is being read and has none; when to look again."""
        alone_at = self._supernodes.alone_at if self._origin_stands_in else inf
        alone = alone_at <= trio.current_time()
        latest = inf if alone else alone_at
        for blob_id in self._listener.reading():
            stored = self._listener.stored(blob_id) if blob_id not in self._homes else None
            if stored is None:
                continue
            session, again = self._supernodes.choose(stored.blob.url)
            latest = min(latest, again)
            if session is not None:
                self._lose_source(blob_id)  # the origin, where it stood in
                self._move(stored, session)
                self._start_join(stored, session)
            elif alone and blob_id not in self._served:
                self._served.add(blob_id)
                self._listener.supernode_came(blob_id, crowded=False)  # the origin stands in for it
        return latest

    async def _settle_idle(self) -> float:
        """Offers each blob that nobody reads to the one that should know of it, the last used ones first."""
        latest = inf
        async with trio.open_nursery() as nursery:
            for at, blob in enumerate(reversed(self._store.blobs())):
                if at % _SLICE == 0:
                    await trio.lowlevel.checkpoint()
                if blob.id in self._listener.reading():
                    continue
                session, again = self._supernodes.choose(blob.url)
                latest = min(latest, again)
                if session is None or session is self._homes.get(blob.id):
                    continue
                stored = self._store.look(blob.id)
                if stored is None:
                    continue
                self._move(stored, session)
                if stored.have.count:
                    await self._joining.acquire_on_behalf_of(blob.id)
                    nursery.start_soon(self._join_in_turn, stored, session)
        return latest

    async def _join_in_turn(self, stored: StoredBlob, session: SupernodeSession) -> None:
        try:
            await self._join(stored, session)
        finally:
            self._joining.release_on_behalf_of(stored.blob.id)

    def _move(self, stored: StoredBlob, session: SupernodeSession) -> None:
        blob_id = stored.blob.id
        before = self._homes.get(blob_id)
        self._homes[blob_id] = session
        if before is not None and before is not session:
            assert self._nursery is not None
            self._nursery.start_soon(before.tell, Leave(blob_id=blob_id))

    def _start_join(self, stored: StoredBlob, session: SupernodeSession) -> None:
        assert self._nursery is not None, "begun before run"
        self._nursery.start_soon(self._join, stored, session)

    async def _join(self, stored: StoredBlob, session: SupernodeSession) -> None:
        """Tells a supernode what we hold of a blob; only then it is asked for pieces that it may never have heard of."""
        blob_id = stored.blob.id
        have = self._listener.joining(stored)
        reading = blob_id in self._listener.reading() and not stored.have.complete
        message = Join(blob=stored.blob, have=have.to_bytes(), durable=stored.durable.to_bytes(), reading=reading)
        answer = Joined(neighbours=())
        try:
            reply = await session.ask(message, timeout_s=self._timeout_s)
            if isinstance(reply, Joined):
                answer = reply
        except FlyfsError as error:
            log.debug("swarm.join.failed", blob=blob_id, reason=error.message)
        if self._homes.get(blob_id) is not session:
            return  # it was lost meanwhile
        if blob_id in self._listener.reading() and blob_id not in self._served:
            self._served.add(blob_id)
            self._listener.supernode_came(blob_id, crowded=None)
        self._listener.joined(stored, answer)
