"""Has supernodes vouch for pieces that only we know to be right, so that others may have them too. Shell.

Pieces from the origin itself, and those that an unknown supernode signed: asked for page by page once a supernode knows what we
hold, and again with growing pauses, because it can vouch only for what it has read.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog
import trio

from flyfs.core.errors import Corrupt, FlyfsError
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import PAGE_PIECES, Fork, SignedDigests
from flyfs.core.signing import verify
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.offers import offered, unproved_pages

AGAIN_S = (30.0, 600.0)
"""The first and the longest pause before a supernode is asked again."""

AT_ONCE = 4

log = structlog.get_logger(__name__)


class Confirming:
    """One task for each blob that has something to be confirmed."""

    def __init__(
        self,
        store: Store,
        keys: Callable[[], Collection[bytes]],
        ask: Callable[[BlobId, int], Awaitable[Sequence[SignedDigests]]],
        confirmed: Callable[[BlobId, Sequence[PieceIndex]], None],
        forked: Callable[[BlobId, Fork], None],
    ) -> None:
        """``ask`` gets a manifest page from a supernode; ``confirmed`` hears of pieces that may be offered from now on."""
        self._store = store
        self._keys = keys
        self._ask = ask
        self._confirmed = confirmed
        self._forked = forked
        self._joined: dict[BlobId, trio.Event] = {}  # blobs with a task: set when a supernode heard of it (again)
        self._asking = trio.CapacityLimiter(AT_ONCE)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns the tasks."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def joined(self, stored: StoredBlob) -> None:
        """A supernode knows what we hold of a blob, and may vouch for what we cannot prove."""
        blob_id = stored.blob.id
        if blob_id in self._joined:
            self._joined[blob_id].set()
        elif unproved_pages(stored, self._keys(), PAGE_PIECES):
            assert self._nursery is not None, "joined before run"
            self._joined[blob_id] = trio.Event()
            self._nursery.start_soon(self._keep_asking, blob_id)

    async def _keep_asking(self, blob_id: BlobId) -> None:
        pause_s, longest_s = AGAIN_S
        try:
            while (stored := self._store.look(blob_id)) is not None and await self._confirm(stored):
                del stored  # an idle blob must not be kept in memory for this
                with trio.move_on_after(pause_s):
                    await self._joined[blob_id].wait()
                self._joined[blob_id] = trio.Event()
                pause_s = min(longest_s, 2 * pause_s)
        finally:
            del self._joined[blob_id]

    async def _confirm(self, stored: StoredBlob) -> bool:
        """Asks once for all pages that want it; whether something is left."""
        blob_id, before = stored.blob.id, offered(stored, self._keys())
        try:
            for page in unproved_pages(stored, self._keys(), PAGE_PIECES):
                async with self._asking:
                    self._learn(stored, await self._ask(blob_id, page))
        except Fork as fork:
            self._forked(blob_id, fork)
            return False
        except FlyfsError as error:
            log.debug("swarm.confirming.failed", blob=blob_id, reason=error.message)
        gained = [piece for piece in offered(stored, self._keys()) if piece not in before]
        if gained:
            self._confirmed(blob_id, gained)
        return bool(unproved_pages(stored, self._keys(), PAGE_PIECES))

    def _learn(self, stored: StoredBlob, batches: Sequence[SignedDigests]) -> None:
        """Takes over what a supernode of ours signed. Raises Corrupt, Fork."""
        keys = frozenset(self._keys())
        for batch in batches:
            if batch.blob_id != stored.blob.id or batch.pieces.stop > len(stored.blob.grid):
                raise Corrupt("digests of another blob")
            verify(batch, keys)
            stored.add_digests(batch)
