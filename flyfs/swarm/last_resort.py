"""Who is asked for a piece when no neighbour can give it: the blob's supernode; its origin, while no supernode answers. Shell."""

from collections.abc import Callable, Sequence

import trio

from flyfs.core.blob import Blob
from flyfs.core.errors import RemoteProtocolError, Unanswered, Unavailable
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import SignedDigests
from flyfs.limit.turns import Urgency
from flyfs.swarm.back_to_origin import BackToOrigin, FromOrigin
from flyfs.swarm.memberships import Memberships
from flyfs.swarm.supernodes import Supernodes
from flyfs.wire.messages import Digests, GetDigests, GetPiece, Message

DIGESTS_TIMEOUT_S = 2.0
"""Pieces bring their digests along; a page of them only saves work."""

SPARED_S = 1.0
"""How long a supernode that took a blob over is not asked for a piece that a neighbour holds."""
SPARED_AGAIN_S = 0.05


class LastResort:
    """What downloads know as *the supernode*."""

    def __init__(
        self,
        supernodes: Supernodes,
        memberships: Memberships,
        origin: BackToOrigin | None,
        held_by_neighbour: Callable[[BlobId, PieceIndex], bool],
    ) -> None:
        """``origin`` is None where origins must not be asked from here."""
        self._supernodes = supernodes
        self._memberships = memberships
        self._origin = origin
        self._held_by_neighbour = held_by_neighbour
        self._spared: dict[tuple[BlobId, PieceIndex], float] = {}

    async def fetch(
        self, blob: Blob, message: GetPiece, into: memoryview, *, timeout_s: float, urgency: Urgency
    ) -> Message | FromOrigin:
        """Asks for a piece. Raises FlyfsError."""
        home = self._memberships.home(blob.id)
        piece = PieceIndex(message.piece)
        if home is not None:
            self._spare(blob.id, piece)
            return await home.fetch(message, into, timeout_s=timeout_s, urgency=urgency)
        if self._origin is None or self._supernodes.alone_at > trio.current_time():
            raise Unanswered(self._supernodes.why())
        with trio.move_on_after(timeout_s):
            return await self._origin.fetch(blob, piece, into, demand=message.demand, urgency=urgency)
        raise Unanswered(f"{blob.url}: the origin did not answer within {timeout_s:g} s")

    def _spare(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """One that took the blob over would read from the origin what it does not know our neighbours to hold.

        Raises:
            Unavailable: not now: a neighbour gets a moment for it.
        """
        if not self._memberships.taken_over_lately(blob_id):
            self._spared = {key: since for key, since in self._spared.items() if key[0] != blob_id} if self._spared else {}
            return
        now = trio.current_time()
        since = self._spared.setdefault((blob_id, piece), now)
        if self._held_by_neighbour(blob_id, piece) and now - since < SPARED_S:
            raise Unavailable("a neighbour has it", retry_after_s=SPARED_AGAIN_S)

    async def ask_digests(self, blob_id: BlobId, page: int) -> Sequence[SignedDigests]:
        """What the blob's supernode knows of a manifest page. Raises FlyfsError."""
        home = self._memberships.home(blob_id)
        if home is None:
            raise Unanswered("no supernode has been told of this blob")
        reply = await home.ask(GetDigests(blob_id=blob_id, page=page), timeout_s=DIGESTS_TIMEOUT_S)
        if not isinstance(reply, Digests):
            raise RemoteProtocolError(f"an answer to GetDigests that does not fit: {type(reply).__name__}")
        return reply.batches
