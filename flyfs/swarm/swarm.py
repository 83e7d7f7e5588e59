"""The swarm as one peer sees it: composes session, neighbours, downloads and uploads, and answers what ``fs`` asks. Shell."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import structlog
import trio

from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Stale
from flyfs.core.ids import BlobId, PeerId, PieceIndex
from flyfs.core.manifest import Fork, SignedDigests
from flyfs.core.remote import Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.limit.turns import Urgency
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.back_to_origin import BackToOrigin, FromOrigin
from flyfs.swarm.conduct import Conduct
from flyfs.swarm.confirming import Confirming
from flyfs.swarm.download import Download
from flyfs.swarm.identity import Identity
from flyfs.swarm.last_resort import LastResort
from flyfs.swarm.losses import Losses
from flyfs.swarm.memberships import Memberships
from flyfs.swarm.names import RemoteNames
from flyfs.swarm.neighbours import Neighbours
from flyfs.swarm.news import News
from flyfs.swarm.offers import offered
from flyfs.swarm.open_blob import OpenBlob
from flyfs.swarm.passing import Passing
from flyfs.swarm.repute import Repute
from flyfs.swarm.roster import Roster
from flyfs.swarm.session import SupernodeSession
from flyfs.swarm.sources import SUPERNODE, Source
from flyfs.swarm.supernodes import Supernodes
from flyfs.swarm.uploads import Announcer, Uploads
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.buffers import BufferPool
from flyfs.transport.greeting import Greeted
from flyfs.wire.messages import (
    Forked,
    GetPiece,
    Hurry,
    Introduce,
    Joined,
    Message,
    Neighbour,
    Shun,
)

AHEAD_SHARE = 4
"""Readers read no further ahead than into a quarter of the store, so that what they read ahead never evicts itself."""

GRACE_S = 1.0
"""How long a question waits for a supernode that is just being found (again); after that it fails at once."""

ALONE_AFTER_S = (1.0, 2.5)
"""As long, where the origin can be asked then: each peer waits another time within these bounds, lest they all ask at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSettings:
    """What the swarm takes from the configuration."""

    version: str
    address: str
    """Where other peers reach this one, ``HOST:PORT``; empty for a leech."""
    location: str
    deadline_s: float


class Swarm:
    """All of a peer but the mount. ``run`` must be running."""

    def __init__(
        self,
        store: Store,
        settings: SwarmSettings,
        roster: Roster,
        counters: Counters,
        demand_latency: LatencyWindow,
        *,
        origin: BackToOrigin | None = None,
        limit: HostLimit = UNLIMITED,
        supernode_limit: HostLimit = UNLIMITED,
    ) -> None:
        """``origin`` is None where origins must not be asked from here."""
        self.buffers = BufferPool(receiving=limit.receive)
        self.passing = Passing()
        self.identity = Identity(
            peer_id=store.peer_id, version=settings.version, address=settings.address, location=settings.location
        )
        self._store = store
        self._settings = settings
        self._counters = counters
        self.demand_latency = demand_latency
        self._downloads: dict[BlobId, _Running] = {}
        self._announced: WeakSet[StoredBlob] = WeakSet()  # objects, because the store makes new ones of blobs long unused
        self._nursery: trio.Nursery | None = None
        self.repute = Repute()
        self.news = News(store, self, self.repute)
        grace_s = GRACE_S if origin is None else _alone_after_s(store.peer_id)
        self.supernodes = Supernodes(roster, self.identity.hello, self, self.news.handle, grace_s=grace_s, limit=supernode_limit)
        self.memberships = Memberships(
            store, self.supernodes, self, origin_stands_in=origin is not None, timeout_s=settings.deadline_s
        )
        self._conduct = Conduct(store.peer_id, self.memberships.tell)
        self._names = RemoteNames(self.supernodes, store, origin, timeout_s=settings.deadline_s)
        self._last_resort = LastResort(self.supernodes, self.memberships, origin, self._held_by_neighbour)
        self._confirming = Confirming(store, self.trusted_keys, self.ask_digests, self._confirmed, self.forked)
        self.neighbours = Neighbours(self.identity.hello, self, limit)
        self.announcer = Announcer(self.memberships.tell)
        self._losses = Losses(self._tell_loss)
        store.listen_losses(self._losses.happened)
        self.uploads = Uploads(store, self.announcer, self.trusted_keys, self._served)

    @property
    def address(self) -> str:
        """Where others are told to reach this peer."""
        return self.identity.address

    async def serve(self, greeted: Greeted) -> None:
        """One incoming connection, until it ends."""
        await self.uploads.session(greeted)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns all tasks of the swarm."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.announcer.run)
            await nursery.start(self.neighbours.run)
            await nursery.start(self._conduct.run)
            nursery.start_soon(self._losses.run)
            await nursery.start(self._confirming.run)
            await nursery.start(self.memberships.run)
            await nursery.start(self.supernodes.run)
            task_status.started()

    def _served(self, size: int) -> None:
        self._counters.served_bytes += size

    # -- what fs asks (fs.remotes.Remotes) -------------------------------------------------------------------------

    async def stat(
        self, url: RemoteUrl, *, max_age_s: float, read: bool = False, pin: bool = False
    ) -> RemoteFile | RemoteDirectory:
        """What is at ``url``; the caller sets the deadline.

        Raises:
            NotFound, Denied, TooLarge: what the origin, or its guard, said.
            Unavailable: it cannot be known now.
        """
        return await self._names.stat(url, max_age_s=max_age_s, read=read, pin=pin)

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """The names in the directory ``url``. Raises as ``stat``."""
        return await self._names.list(url, max_age_s=max_age_s)

    async def open(self, file: RemoteFile) -> OpenBlob:
        """Opens one version; no network wait. Raises Unavailable where the process is short of descriptors or memory."""
        assert file.blob is not None, "a file without a length is pinned before it is opened"
        stored = await self._store.create(file.blob)
        running = self._downloads.get(stored.blob.id) or self._begin(stored)
        running.users += 1
        running.download.resume()
        return OpenBlob(
            stored,
            running.download,
            self._counters,
            self.passing,
            ahead_bytes=self._ahead_bytes,
            closed=lambda: self._close(running),
        )

    def _ahead_bytes(self) -> int:
        """How far the readers of one blob may read ahead: their share of what can be kept until they get there."""
        kept_bytes = self.passing.budget_bytes // 2 if self._store.reads_through else self._store.capacity_bytes // AHEAD_SHARE
        return kept_bytes // max(1, len(self._downloads))

    def _begin(self, stored: StoredBlob) -> "_Running":
        spread = int(self._store.peer_id[-16:], 16)
        download = Download(stored, self, timeout_s=self._settings.deadline_s, spread=spread)
        running = self._downloads[stored.blob.id] = _Running(download)
        assert self._nursery is not None, "open before run"
        self.memberships.reading_began(stored)
        self._nursery.start_soon(self._run_download, running)
        return running

    async def _run_download(self, running: "_Running") -> None:
        blob_id = running.download.blob.id
        try:
            await running.download.run()
        finally:
            if self._downloads.get(blob_id) is running:
                del self._downloads[blob_id]
                self.announcer.tell_supernode_every(blob_id, 0.0)
                self.neighbours.part(blob_id)
                self._conduct.download_ended(blob_id)
                self.memberships.reading_ended(blob_id)

    def _close(self, running: "_Running") -> None:
        running.users -= 1
        if running.users == 0:
            running.download.finish()

    # -- what memberships tell (memberships.Reading) ---------------------------------------------------------------

    def reading(self) -> Collection[BlobId]:
        """Which blobs are being read."""
        return self._downloads.keys()

    def stored(self, blob_id: BlobId) -> StoredBlob | None:
        """One that is being read."""
        running = self._downloads.get(blob_id)
        return running.download.stored if running is not None else None

    def supernode_came(self, blob_id: BlobId, *, crowded: bool | None) -> None:
        """A supernode can be asked for the blob."""
        running = self._downloads.get(blob_id)
        if running is not None:
            running.download.picker.crowd_told(crowded)
            running.download.picker.supernode_came()
            running.download.changed()

    def supernode_left(self, blob_id: BlobId) -> None:
        """It is gone; neighbours stay."""
        running = self._downloads.get(blob_id)
        if running is not None:
            running.download.picker.source_left(SUPERNODE)
            running.download.changed()

    def joining(self, stored: StoredBlob) -> Bitmap:
        """A supernode is about to hear what we offer: from now on each new piece is news."""
        if stored not in self._announced:
            self._announced.add(stored)
            blob_id, provisional = stored.blob.id, stored.provisional  # the blob must not be kept alive by its own listener

            def tell(piece: PieceIndex, durable: bool) -> None:
                if piece not in provisional:
                    self.announcer.piece_gained(blob_id, piece, durable)

            stored.listen(tell)
        return offered(stored, self.trusted_keys())

    def joined(self, stored: StoredBlob, answer: Joined) -> None:
        """A supernode knows what we offer, and names neighbours."""
        self.introduced(stored.blob.id, answer)
        self._confirming.joined(stored)

    def _confirmed(self, blob_id: BlobId, pieces: Sequence[PieceIndex]) -> None:
        """A supernode vouches for pieces that we could not prove before."""
        for piece in pieces:
            self.announcer.piece_gained(blob_id, piece, durable=False)

    def introduced(self, blob_id: BlobId, told: Joined | Introduce) -> None:
        """A supernode names neighbours, and says whether there are many."""
        running = self._downloads.get(blob_id)
        if running is not None:
            self.announcer.tell_supernode_every(blob_id, told.tell_every_s)
            running.download.picker.crowd_told(told.crowded, told.tell_every_s)
            running.download.changed()
            self.meet(blob_id, told.neighbours)

    def shunned(self, message: Shun) -> None:
        """A supernode isolated a neighbour."""
        self.neighbours.shun(message)

    async def _tell_loss(self, blob_id: BlobId) -> None:
        """A blob went, or shrank: the supernode, if it was told of it, hears what is left."""
        await self.memberships.lost(blob_id, self.stored(blob_id) or self._store.look(blob_id))

    # -- what supernodes tell (supernodes.SupernodesListener) ------------------------------------------------------

    def session_left(self, session: SupernodeSession) -> None:
        """What it was told of has to be told to others."""
        self.memberships.session_left(session)

    def supernodes_changed(self) -> None:
        """Blobs may belong to another one now."""
        self.memberships.stir()

    # -- what downloads ask (download.Surroundings) ----------------------------------------------------------------

    async def fetch(
        self, source: Source, blob: Blob, message: GetPiece, into: memoryview, *, timeout_s: float, urgency: Urgency
    ) -> Message | FromOrigin:
        """Asks the supernode (None; the origin, while none answers) or a neighbour for a piece."""
        with self._conduct.watching(blob.id, source, timeout_s) as request:
            if source is None:
                return request.answered(await self._last_resort.fetch(blob, message, into, timeout_s=timeout_s, urgency=urgency))
            return request.answered(await self.neighbours.fetch(source, message, into, timeout_s=timeout_s, urgency=urgency))

    async def ask_digests(self, blob_id: BlobId, page: int) -> Sequence[SignedDigests]:
        """What the supernode knows of a manifest page. Raises FlyfsError."""
        return await self._last_resort.ask_digests(blob_id, page)

    async def hurry(self, blob_id: BlobId, piece: PieceIndex) -> None:
        """A reader waits by now for a piece that was asked for ahead of it."""
        await self.memberships.tell(blob_id, Hurry(blob_id=blob_id, piece=piece))

    def _held_by_neighbour(self, blob_id: BlobId, piece: PieceIndex) -> bool:
        running = self._downloads.get(blob_id)
        return running is not None and running.download.picker.held_by_peer(piece)

    def meet(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """Gets in touch with neighbours for a blob that is being read."""
        others = [neighbour for neighbour in neighbours if neighbour.peer_id != self._store.peer_id]
        self.neighbours.meet(blob_id, others)

    def trusted_keys(self) -> frozenset[bytes]:
        """Keys of the supernodes we talked to since the start."""
        return self.supernodes.trusted_keys

    def piece_came(self, source: Source, size: int) -> None:
        """Counts a verified piece."""
        self._counters.pieces_verified += 1
        if source is None:
            self._counters.supernode_bytes += size
        else:
            self._counters.peer_bytes += size

    def piece_rejected(self, source: Source, blob_id: BlobId, piece: PieceIndex) -> None:
        """Counts a wrong piece, and tells the supernode whose it was."""
        self._counters.pieces_rejected += 1
        home = self.memberships.home(blob_id)
        if source is not None:
            self._conduct.rejected(source, blob_id, piece)
        elif home is not None:
            home.misbehaved("it sends pieces that do not fit their digests")

    def forked(self, blob_id: BlobId, fork: Fork) -> None:
        """A blob contradicts itself: the supernode gets the proof, where there is one, and tells everybody."""
        home = self.memberships.home(blob_id)
        if fork.batches and home is not None:
            assert self._nursery is not None
            self._nursery.start_soon(home.tell, Forked(blob_id=blob_id, batches=fork.batches))
        self.retire(blob_id, fork.message)

    def retire(self, blob_id: BlobId, reason: str) -> None:
        """Drops a blob from the store; its readers get Stale for what they do not have."""
        log.warning("swarm.blob.retired", blob=blob_id, reason=reason)
        running = self._downloads.get(blob_id)
        if running is not None:
            running.download.stop(Stale(f"{running.download.blob.url}: {reason}"))
            del self._downloads[blob_id]
            self.neighbours.part(blob_id)
        self.memberships.dropped(blob_id)
        assert self._nursery is not None
        self._nursery.start_soon(self._store.drop, blob_id)

    # -- what neighbours ask (neighbours.Downloads) ----------------------------------------------------------------

    def download(self, blob_id: BlobId) -> Download | None:
        """The running download of a blob."""
        running = self._downloads.get(blob_id)
        return running.download if running is not None else None

    def unreachable(self, peer: PeerId, blob_id: BlobId, fault: str) -> None:
        """Reports a neighbour's fault to the supernode, which decides what it means."""
        self._conduct.report(peer, blob_id, fault)


@dataclass(slots=True)
class _Running:
    download: Download
    users: int = 0


def _alone_after_s(peer: PeerId) -> float:
    """A stable time for each peer: its id is random."""
    least_s, most_s = ALONE_AFTER_S
    return least_s + (most_s - least_s) * int(peer[:8], 16) / 0xFFFFFFFF
