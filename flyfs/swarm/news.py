"""What a supernode sends by itself: neighbours, offers, the end of a blob, how peers and this one do, and questions. Shell."""

from typing import Protocol

from flyfs.core.errors import Unavailable
from flyfs.core.ids import BlobId
from flyfs.store.store import Store
from flyfs.swarm.download import Download
from flyfs.swarm.repute import Repute
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Digests, Done, GetDigests, Introduce, Message, Offer, Ping, Reached, Retire, Shun


class Reader(Protocol):
    """Who acts on it."""

    def download(self, blob_id: BlobId) -> Download | None:
        """The running download of a blob."""
        ...

    def retire(self, blob_id: BlobId, reason: str) -> None:
        """Drops a blob that is over."""
        ...

    def introduced(self, blob_id: BlobId, told: Introduce) -> None:
        """Gets in touch with neighbours."""
        ...

    def shunned(self, message: Shun) -> None:
        """Leaves an isolated neighbour alone."""
        ...


class News:
    """Takes a supernode's messages as they come."""

    def __init__(self, store: Store, reader: Reader, repute: Repute) -> None:
        self._store = store
        self._reader = reader
        self._repute = repute

    async def handle(self, _: Link, message: Message) -> Answer | None:
        """Serves one message. Raises Unavailable for one that a peer does not serve."""
        match message:
            case Introduce(blob_id=blob_id):
                self._reader.introduced(blob_id, message)
            case Offer(blob_id=blob_id, pieces=pieces):
                if (download := self._reader.download(blob_id)) is not None:
                    download.offered(pieces)
            case Retire(blob_id=blob_id, reason=reason):
                self._reader.retire(blob_id, reason)
            case GetDigests(blob_id=blob_id, page=page):
                stored = self._store.look(blob_id)
                return Answer(Digests(batches=stored.manifest.batches(page) if stored is not None else ()))
            case Shun(peer_id=peer_id) if peer_id != self._store.peer_id:
                self._reader.shunned(message)
            case Reached() | Shun():
                self._repute.told(message)
            case Ping():
                return Answer(Done())
            case _:
                raise Unavailable(f"a peer does not serve {type(message).__name__} on this connection")
        return None
