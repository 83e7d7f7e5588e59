"""Room for new bytes: the limit, the disk's free space, and what is evicted when either runs short. Shell.

Bytes are promised before they are written, so that writes under way together cannot exceed what each alone may use.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from flyfs.core.errors import StoreFull
from flyfs.core.ids import BlobId
from flyfs.core.units import show_size
from flyfs.store.catalogue import Catalogue
from flyfs.store.eviction import Candidate, plan_eviction, reserve_bytes, shortfall_bytes

_ROUNDS = 3
"""Some file systems free space a while after the files are gone; evicting more and more would not speed them up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What the store takes and may take.

    Attributes:
        used_bytes: held pieces; sparse files are not counted by their length.
        limit_bytes: what ``used_bytes`` may not exceed, None for no limit.
        free_bytes: what the file system has left.
        blobs: how many there are.
        read_through: the last write was refused: bytes go to their readers, but are not kept.
    """

    used_bytes: int
    limit_bytes: int | None
    free_bytes: int
    blobs: int
    read_through: bool


class Space:
    """Who may write how much. ``disk_bytes`` gives (free, whole) bytes of the file system."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        limit_bytes: int | None,
        disk_bytes: Callable[[], tuple[int, int]],
        is_pinned: Callable[[BlobId], bool],
        evict: Callable[[BlobId], Awaitable[None]],
    ) -> None:
        self._catalogue = catalogue
        self._limit_bytes = limit_bytes
        self._disk_bytes = disk_bytes
        self._is_pinned = is_pinned
        self._evict = evict
        self._promised_bytes = 0
        self._one_evicts = trio.Lock()  # a second one would evict for room that the first is just making
        self._refused = False

    async def promise(self, size: int) -> None:
        """Sets ``size`` bytes aside, until ``keep`` or ``give_back``; waits only where blobs have to go first.

        Raises:
            StoreFull: there is no room, and evicting would not make enough.
        """
        if self._shortfall_bytes(size):
            async with self._one_evicts:
                await self._make_room(size)
        self._promised_bytes += size

    def keep(self, blob_id: BlobId, size: int) -> None:
        """Promised bytes have been written: the blob has them."""
        self._promised_bytes -= size
        self._catalogue.change_used(blob_id, size)
        self._refused = False

    def give_back(self, size: int) -> None:
        """Promised bytes have not been written."""
        self._promised_bytes -= size

    def lose(self, blob_id: BlobId, size: int) -> None:
        """The blob does not hold these bytes any more."""
        self._catalogue.change_used(blob_id, -size)

    def regain(self, blob_id: BlobId, size: int) -> None:
        """Bytes that it had lost are there after all."""
        self._catalogue.change_used(blob_id, size)

    def used(self, blob_id: BlobId) -> None:
        """The blob was in use until now."""
        self._catalogue.find(blob_id)

    def refuse(self, reason: str) -> StoreFull:
        """The error to raise for a write that the kernel, or the rule above, refused."""
        self._refused = True
        return StoreFull(f"the store takes no more bytes: {reason}")

    def statistics(self) -> StoreStatistics:
        """The figures now, from memory."""
        return StoreStatistics(
            used_bytes=self._catalogue.used_bytes,
            limit_bytes=self._limit_bytes,
            free_bytes=self._disk_bytes()[0],
            blobs=len(self._catalogue),
            read_through=self._refused,
        )

    def _shortfall_bytes(self, size: int) -> int:
        free, whole = self._disk_bytes()
        return shortfall_bytes(
            wanted=size,
            used=self._catalogue.used_bytes + self._promised_bytes,
            limit=self._limit_bytes,
            free=free - self._promised_bytes,
            reserve=reserve_bytes(whole),
        )

    async def _make_room(self, size: int) -> None:
        for _ in range(_ROUNDS):
            missing = self._shortfall_bytes(size)
            if not missing:
                return
            candidates = (
                Candidate(blob_id=blob_id, used_bytes=used, pinned=self._is_pinned(blob_id))
                for blob_id, used in self._catalogue.by_age()
            )
            victims = plan_eviction(candidates, missing)
            if not victims:
                break
            for blob_id in victims:
                if not self._is_pinned(blob_id):  # it may have got a reader while another one went
                    await self._evict(blob_id)
        if missing := self._shortfall_bytes(size):
            raise self.refuse(f"{show_size(missing)} are missing for {show_size(size)}, and nothing that may go frees them")
