"""What a supernode sends by itself: neighbours, offers, the end of a blob, whether this peer is reached, and questions. Shell."""

from collections.abc import Callable
from typing import Protocol

import structlog

from flyfs.core.errors import Unavailable
from flyfs.core.ids import BlobId
from flyfs.store.store import Store
from flyfs.swarm.download import Download
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Digests, Done, GetDigests, Introduce, Message, Offer, Ping, Reached, Retire

log = structlog.get_logger(__name__)


class Reader(Protocol):
    """Who acts on it."""

    def download(self, blob_id: BlobId) -> Download | None:
        """The running download of a blob."""
        ...

    def retire(self, blob_id: BlobId, reason: str) -> None:
        """Drops a blob that is over."""
        ...


class News:
    """Takes a supernode's messages as they come."""

    def __init__(self, store: Store, reader: Reader, introduced: Callable[[BlobId, Introduce], None]) -> None:
        self._store = store
        self._reader = reader
        self._introduced = introduced
        self.reached: bool | None = None
        """Whether others reach this peer at the address that it gives, as a supernode found; None for not known."""
        self.unreached: str | None = None
        """Why they do not."""

    async def handle(self, _: Link, message: Message) -> Answer | None:
        """Serves one message. Raises Unavailable for one that a peer does not serve."""
        match message:
            case Introduce(blob_id=blob_id):
                self._introduced(blob_id, message)
            case Offer(blob_id=blob_id, pieces=pieces):
                if (download := self._reader.download(blob_id)) is not None:
                    download.offered(pieces)
            case Retire(blob_id=blob_id, reason=reason):
                self._reader.retire(blob_id, reason)
            case GetDigests(blob_id=blob_id, page=page):
                stored = self._store.look(blob_id)
                return Answer(Digests(batches=stored.manifest.batches(page) if stored is not None else ()))
            case Reached(address=address, reason=reason):
                if reason and self.unreached != reason:
                    log.warning("swarm.address.unreachable", address=address, reason=reason)
                self.reached, self.unreached = not reason, reason or None
            case Ping():
                return Answer(Done())
            case _:
                raise Unavailable(f"a peer does not serve {type(message).__name__} on this connection")
        return None
