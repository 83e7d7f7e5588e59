"""How neighbours behave, as seen from here, and telling the supernode, which decides what it means. Shell.

Each request for a piece is watched from outside: nothing that fetches, and nothing that chooses, knows of it.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import trio

from flyfs.core.errors import Unanswered
from flyfs.core.ids import BlobId, PeerId
from flyfs.swarm.back_to_origin import FromOrigin
from flyfs.swarm.speeds import SpeedMeter
from flyfs.wire.messages import Message, Piece, Report, Speeds

_IN_TIME = 0.9
"""An answer that did not come after this share of its time ran out of time; before it, the connection was lost."""


class Request:
    """One request for a piece, while it is watched."""

    def __init__(self) -> None:
        self.size = 0

    def answered(self, reply: Message | FromOrigin) -> Message | FromOrigin:
        """Notes what came, and gives it back."""
        if isinstance(reply, Piece):
            self.size = reply.length
        return reply


class Conduct:
    """Watches, measures and reports. ``run`` must be running."""

    def __init__(self, peer_id: PeerId, tell: Callable[[BlobId, Message], Awaitable[None]]) -> None:
        """``tell`` sends news of a blob to its supernode."""
        self._tell = tell
        self._meter = SpeedMeter(peer_id)
        self._began = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tells for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                while True:
                    self._began = trio.Event()
                    for blob_id, measured in self._meter.next_reports(trio.current_time()):
                        nursery.start_soon(self._tell, blob_id, Speeds(blob_id=blob_id, measured=measured))
                    with trio.move_on_at(self._meter.next_deadline()):
                        await self._began.wait()
            finally:
                self._nursery = None  # downloads end at the same time, in any order, and find faults while they do

    @contextmanager
    def watching(self, blob_id: BlobId, peer: PeerId | None, timeout_s: float) -> Generator[Request, None, None]:
        """While a piece is asked of ``peer`` (None: of the supernode)."""
        request, began = Request(), trio.current_time()
        if peer is None:
            yield request
            if request.size:
                self._meter.came_elsewhere(blob_id)
            return
        self._meter.asked(blob_id, peer, began)
        self._began.set()
        late = False
        try:
            yield request
        except Unanswered:
            late = trio.current_time() - began >= _IN_TIME * timeout_s
            raise
        finally:
            self._meter.ended(blob_id, peer, request.size, trio.current_time())
            if late and self._meter.stalls(blob_id, peer):
                self.report(peer, blob_id, "slow")

    def rejected(self, peer: PeerId, blob_id: BlobId, piece: int) -> None:
        """A piece was not what it should be."""
        self._meter.rejected(blob_id, peer)
        self.report(peer, blob_id, "corrupt", piece)

    def report(self, peer: PeerId, blob_id: BlobId, fault: str, piece: int | None = None) -> None:
        """Tells the supernode of a fault, unless ``run`` has ended."""
        if self._nursery is not None:
            self._nursery.start_soon(self._tell, blob_id, Report(peer_id=peer, blob_id=blob_id, fault=fault, piece=piece))

    def download_ended(self, blob_id: BlobId) -> None:
        """Tells what is left to tell, unless ``run`` has ended."""
        measured = self._meter.ended_all(blob_id, trio.current_time())
        if measured and self._nursery is not None:
            self._nursery.start_soon(self._tell, blob_id, Speeds(blob_id=blob_id, measured=measured))
