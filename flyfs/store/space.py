"""Room for new bytes: promised before they are written, and made by eviction before anybody has to wait for it. Shell.

Promises keep writes under way together within what each alone may use. One task evicts, in batches (``eviction``); whoever
needs room at once waits for it, and is refused where no eviction could help. A refusal is no failure: the bytes are read
through.
"""

import errno
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog
import trio

from flyfs.core.errors import StoreFull
from flyfs.core.ids import BlobId
from flyfs.core.units import show_size
from flyfs.store.catalogue import Catalogue
from flyfs.store.eviction import BLOB_INODES, Candidate, Disk, Eviction, Room, plan_eviction, room_of

_FRUITLESS_ROUNDS = 3
"""Some file systems free space a while after the files are gone; evicting more and more would not speed them up."""

REFUSED_FOR_S = 0.25
"""Where nothing could be done, nobody tries again for so long, unless room was given back: a full store must neither look for
victims nor bother the disk at each piece."""

ROOM_TIMEOUT_S = 5.0
"""A disk that takes longer to make room holds up no reader: the bytes pass by."""

CALM_S = 10.0
"""After so long without a refusal, reading through has ended, as far as the log is concerned."""

_INODES_PER_BLOB = 4
_FULL = (errno.ENOSPC, errno.EDQUOT)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What the store takes and may take.

    Attributes:
        used_bytes: held pieces; sparse files are not counted by their length.
        limit_bytes: what ``used_bytes`` may not exceed, None for no limit.
        free_bytes: what the file system has left.
        blobs: how many there are.
        read_through: the last write was refused: bytes go to their readers, but are not kept.
        damaged: pieces that turned out not to be right any more since the start, and were dropped.
    """

    used_bytes: int
    limit_bytes: int | None
    free_bytes: int
    blobs: int
    read_through: bool
    damaged: int = 0


class Space:
    """Who may write how much. ``run`` must be running."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        limit_bytes: int | None,
        disk: Callable[[], Disk],
        can_punch: bool,
        candidates: Callable[[], Iterable[Candidate]],
        evict: Callable[[Eviction], Awaitable[None]],
    ) -> None:
        """``candidates`` gives all blobs, the least recently used first; ``evict`` lets one go, or fails quietly."""
        self._catalogue = catalogue
        self._limit_bytes = limit_bytes
        self._disk = disk
        self._can_punch = can_punch
        self._candidates = candidates
        self._evict = evict
        self._promised_bytes = 0
        self._waiting: list[tuple[int, int]] = []  # (bytes, inodes) that somebody cannot be promised yet
        self._short = trio.Event()
        self._progress = trio.Event()  # set, and replaced, when room was made, or cannot be
        self._one_evicts = trio.Lock()
        self._granted_bytes = 0  # in all, for telling what an eviction was good for
        self._hopeless_until = float("-inf")  # nothing that may go would help
        self._kernel_refuses_until = float("-inf")
        self._kernel_reason = ""
        self._refused = False
        self._warned = False
        self._last_refusal = float("-inf")
        self._capacity_bytes = 0

    async def run(self) -> None:
        """Makes room whenever it gets short, for ever; first of all where the limit is lower than it was."""
        while True:
            async with self._one_evicts:
                await self._make_room()
            self._tell_progress()
            await self._short.wait()
            self._short = trio.Event()

    # -- promises -----------------------------------------------------------------------------------------------------

    async def promise(self, size: int) -> None:
        """Sets ``size`` bytes aside, until ``keep`` or ``give_back``; waits only where something has to go first.

        Raises:
            StoreFull: there is no room, and evicting would not make enough.
        """
        await self._wait_for_room(size, 1)  # the bitmap's successor needs an inode
        self._promised_bytes += size
        self._granted_bytes += size

    async def wait_for_blob_room(self) -> None:
        """Returns where a new blob's files can be made. Raises StoreFull."""
        await self._wait_for_room(0, BLOB_INODES)

    def keep(self, blob_id: BlobId, size: int) -> None:
        """Promised bytes have been written: the blob has them."""
        self._promised_bytes -= size
        self._catalogue.change_used(blob_id, size)
        self._refused = False
        if self._warned and trio.current_time() - self._last_refusal >= CALM_S:
            self._warned = False
            _log.info("store.read_through.ended", free_bytes=self._disk().free_bytes)

    def give_back(self, size: int) -> None:
        """Promised bytes have not been written."""
        self._promised_bytes -= size
        self._tell_progress()

    def going(self, size: int) -> None:
        """So many bytes of a blob that goes are still there, until ``gone``."""
        self._promised_bytes += size

    def gone(self, size: int) -> None:
        """They are not any more."""
        self._promised_bytes -= size
        self._freed()

    def lose(self, blob_id: BlobId, size: int) -> None:
        """The blob does not hold these bytes any more, and their room is free."""
        self._catalogue.change_used(blob_id, -size)
        self._freed()

    def regain(self, blob_id: BlobId, size: int) -> None:
        """Bytes that it had lost are there after all."""
        self._catalogue.change_used(blob_id, size)

    def used(self, blob_id: BlobId) -> None:
        """The blob was in use until now."""
        self._catalogue.find(blob_id, time.time())

    def refuse(self, reason: str) -> StoreFull:
        """The error to raise for a write that cannot be: the kernel, or the rule, refuses it."""
        self._refused = True
        self._last_refusal = trio.current_time()
        if not self._warned:
            self._warned = True
            _log.warning("store.read_through.began", reason=reason)
        return StoreFull(f"the store takes no more bytes: {reason}")

    def kernel_refused(self, reason: str) -> StoreFull:
        """The error to raise for a write that the kernel refused, for good or ill; for a moment nobody tries again."""
        self._kernel_refuses_until = trio.current_time() + REFUSED_FOR_S
        self._kernel_reason = reason
        return self.refuse(reason)

    async def make_more_room(self, error: OSError, size: int) -> bool:
        """The kernel refused what the rule allowed (a user's quota, say): True where something went, so that it may succeed."""
        if error.errno not in _FULL:
            return False
        async with self._one_evicts:
            wish_bytes = max(size, self._room().batch_bytes)
            plan = plan_eviction(self._candidates(), must_bytes=size, wish_bytes=wish_bytes, can_punch=self._can_punch)
            for eviction in plan:
                await self._evict(eviction)
        return bool(plan)

    async def collect(self, to_bytes: int | None) -> None:
        """Lets go until no more than ``to_bytes`` (None: the limit) are held, or nothing else may go."""
        most_bytes = self._limit_bytes if to_bytes is None else to_bytes
        async with self._one_evicts:
            used_bytes = self._catalogue.used_bytes
            wish_bytes = 0 if most_bytes is None else max(0, used_bytes - most_bytes)
            for eviction in plan_eviction(self._candidates(), must_bytes=0, wish_bytes=wish_bytes, can_punch=self._can_punch):
                await self._evict(eviction)

    # -- figures ------------------------------------------------------------------------------------------------------

    @property
    def capacity_bytes(self) -> int:
        """What the store may hold in all, as of the last look at the disk: asked for at each read ahead."""
        return self._capacity_bytes

    @property
    def refused(self) -> bool:
        """Whether the last write was refused."""
        return self._refused

    def statistics(self) -> StoreStatistics:
        """The figures now, from memory."""
        return StoreStatistics(
            used_bytes=self._catalogue.used_bytes,
            limit_bytes=self._limit_bytes,
            free_bytes=self._disk().free_bytes,
            blobs=len(self._catalogue),
            read_through=self._refused,
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _room(self) -> Room:
        room = room_of(
            used_bytes=self._catalogue.used_bytes,
            promised_bytes=self._promised_bytes,
            limit_bytes=self._limit_bytes,
            disk=self._disk(),
        )
        self._capacity_bytes = room.capacity_bytes
        return room

    async def _wait_for_room(self, size: int, inodes: int) -> None:
        with trio.move_on_after(ROOM_TIMEOUT_S) as scope:
            await self._wait_until_it_fits(size, inodes)
        if scope.cancelled_caught:
            raise self.refuse(f"no room was made within {ROOM_TIMEOUT_S:.0f} s")

    async def _wait_until_it_fits(self, size: int, inodes: int) -> None:
        while True:
            now = trio.current_time()
            if now < self._kernel_refuses_until:
                raise self.refuse(self._kernel_reason)
            room = self._room()
            hopeless = now < self._hopeless_until
            if room.is_short and not hopeless:
                self._short.set()
            if room.fits(size, inodes):
                return
            if hopeless:
                raise self.refuse(_what_is_missing(room, size, inodes))
            waiting = (size, inodes)
            self._waiting.append(waiting)
            self._short.set()
            try:
                await self._progress.wait()
            finally:
                self._waiting.remove(waiting)

    async def _make_room(self) -> None:
        """Down to the low watermark, and until nobody waits any more; until nothing helps at the latest."""
        if not self._waiting and not self._room().is_short:
            return
        fruitless = 0
        while fruitless < _FRUITLESS_ROUNDS:
            if not self._wanted():
                return
            plan = self._plan()
            if not plan:
                break
            before_bytes = self._room().left_bytes + self._granted_bytes
            for eviction in plan:
                if not self._wanted():
                    return
                await self._evict(eviction)
                self._tell_progress()
            helped = self._room().left_bytes + self._granted_bytes > before_bytes
            fruitless = 0 if helped else fruitless + 1
        self._hopeless_until = trio.current_time() + REFUSED_FOR_S

    def _wanted(self) -> bool:
        room = self._room()
        return room.wish_bytes > 0 or any(not room.fits(*waiting) for waiting in self._waiting)

    def _plan(self) -> tuple[Eviction, ...]:
        room = self._room()
        must_bytes = must_blobs = 0
        if self._waiting:
            size, inodes = min(self._waiting)  # who needs least: where not even that can be had, nothing goes in vain
            must_bytes = max(0, size - room.left_bytes)
            must_blobs = -(-room.missing_inodes(inodes) // _INODES_PER_BLOB)
        return plan_eviction(
            self._candidates(),
            must_bytes=must_bytes,
            wish_bytes=room.wish_bytes,
            can_punch=self._can_punch,
            must_blobs=must_blobs,
        )

    def _freed(self) -> None:
        self._hopeless_until = self._kernel_refuses_until = float("-inf")
        self._tell_progress()

    def _tell_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()


def _what_is_missing(room: Room, size: int, inodes: int) -> str:
    if missing := room.missing_inodes(inodes):
        return f"the disk lacks {missing} inodes"
    return f"{show_size(max(0, size - room.left_bytes))} are missing for {show_size(size)}, and nothing that may go frees them"
