"""The swarm as one peer sees it: composes session, neighbours, downloads and uploads, and answers what ``fs`` asks. Shell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakSet

import structlog
import trio

from flyfs.core.address import Address
from flyfs.core.errors import FlyfsError, RemoteProtocolError, Stale, Unavailable
from flyfs.core.ids import PUBLIC, BlobId, PeerId
from flyfs.core.manifest import SignedDigests
from flyfs.core.remote import Entry, Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.store.store import Store
from flyfs.store.stored_blob import StoredBlob
from flyfs.swarm.download import Download
from flyfs.swarm.losses import Losses
from flyfs.swarm.neighbours import Neighbours
from flyfs.swarm.open_blob import OpenBlob
from flyfs.swarm.passing import Passing
from flyfs.swarm.picker import Source
from flyfs.swarm.session import SupernodeSession
from flyfs.swarm.uploads import Announcer, Uploads
from flyfs.telemetry.counters import Counters
from flyfs.telemetry.latency import LatencyWindow
from flyfs.transport.buffers import BufferPool
from flyfs.transport.greeting import Greeted
from flyfs.wire.messages import (
    MAJOR,
    MINOR,
    Digests,
    DirectoryFound,
    FileFound,
    GetDigests,
    GetPiece,
    Hello,
    Join,
    Joined,
    Leave,
    List,
    Listed,
    Message,
    Neighbour,
    Report,
    Stat,
    Welcome,
)

_LISTING_RESTARTS = 3
"""How often a listing that changes while it is told is begun again."""

DIGESTS_TIMEOUT_S = 2.0
"""Pieces bring their digests along; a page of them only saves work."""

FOR_EVER_S = 1e9
"""Thirty years: the wire knows no infinity."""

AHEAD_SHARE = 4
"""Readers read no further ahead than into a quarter of the store, so that what they read ahead never evicts itself."""

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
        supernodes: Callable[[], Sequence[Address]],
        counters: Counters,
        demand_latency: LatencyWindow,
    ) -> None:
        self.buffers = BufferPool()
        self.passing = Passing()
        self._store = store
        self._settings = settings
        self._counters = counters
        self.demand_latency = demand_latency
        self._keys: set[bytes] = set()
        self._downloads: dict[BlobId, _Running] = {}
        self._joined: set[BlobId] = set()  # what the present session has been told of
        self._announced: WeakSet[StoredBlob] = WeakSet()  # objects, because the store makes new ones of blobs long unused
        self._nursery: trio.Nursery | None = None
        hello = self._hello()
        self.session = SupernodeSession(supernodes, hello, self)
        self.neighbours = Neighbours(self._hello, self)
        self.announcer = Announcer(self.session.tell)
        self.uploads = Uploads(store, self.announcer, self._served)
        self._losses = Losses(self._tell_loss)
        store.listen_losses(self._losses.happened)

    def _hello(self) -> Hello:
        return Hello(
            major=MAJOR,
            minor=MINOR,
            peer_id=self._store.peer_id,
            role="peer",
            version=self._settings.version,
            address=self._settings.address,
            location=self._settings.location,
        )

    def welcome(self, _: Hello) -> Welcome:
        """The answer to another peer's greeting."""
        return Welcome(
            major=MAJOR, minor=MINOR, peer_id=self._store.peer_id, role="peer", version=self._settings.version, key=b""
        )

    async def serve(self, greeted: Greeted) -> None:
        """One incoming connection, until it ends."""
        await self.uploads.session(greeted)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Owns all tasks of the swarm."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.announcer.run)
            await nursery.start(self.neighbours.run)
            await nursery.start(self.session.run)
            nursery.start_soon(self._losses.run)
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
        question = Stat(url=str(url), principal=PUBLIC, max_age_s=min(max_age_s, FOR_EVER_S), read=read, pin=pin)
        match await self.session.ask(question, timeout_s=self._settings.deadline_s):
            case FileFound(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential):
                if blob is not None and blob.url != str(url):
                    raise RemoteProtocolError(f"asked for {url.redacted()}, got another name")
                return RemoteFile(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential)
            case DirectoryFound(age_s=age_s):
                return RemoteDirectory(age_s=age_s)
            case reply:
                raise RemoteProtocolError(f"an answer to Stat that does not fit: {type(reply).__name__}")

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """The names in the directory ``url``, page by page. Raises as ``stat``."""
        entries: list[Entry] = []
        serial = restarts = 0
        while True:
            question = List(
                url=str(url), principal=PUBLIC, max_age_s=min(max_age_s, FOR_EVER_S), serial=serial, start=len(entries)
            )
            try:
                page = await self.session.ask(question, timeout_s=self._settings.deadline_s)
            except Unavailable as error:
                if not serial or error.retry_after_s != 0.0 or restarts == _LISTING_RESTARTS:
                    raise
                entries.clear()  # a newer listing has replaced the one whose first pages we have
                serial, restarts = 0, restarts + 1
                continue
            if not isinstance(page, Listed) or page.start != len(entries) or (page.more and not page.entries):
                raise RemoteProtocolError("an answer to List that does not fit")
            serial = page.serial
            entries += page.entries
            if not page.more:
                return Listing(entries=tuple(entries), skipped=page.skipped, age_s=page.age_s)

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
        download = Download(stored, self, timeout_s=self._settings.deadline_s)
        running = self._downloads[stored.blob.id] = _Running(download)
        assert self._nursery is not None, "open before run"
        if self.session.up:
            download.picker.supernode_came()
        self._nursery.start_soon(self._run_download, running)
        self._nursery.start_soon(self._join, stored, not stored.have.complete)
        return running

    async def _run_download(self, running: "_Running") -> None:
        blob_id = running.download.blob.id
        try:
            await running.download.run()
        finally:
            if self._downloads.get(blob_id) is running:
                del self._downloads[blob_id]
                self.neighbours.part(blob_id)

    def _close(self, running: "_Running") -> None:
        running.users -= 1
        if running.users == 0:
            running.download.finish()

    # -- membership ------------------------------------------------------------------------------------------------

    async def _join(self, stored: StoredBlob, reading: bool, *, again: bool = False) -> None:
        """Tells the supernode what we hold of a blob, and meets the neighbours it names."""
        blob_id = stored.blob.id
        if not reading and not again and blob_id in self._joined:
            return
        self._joined.add(blob_id)
        if stored not in self._announced:
            self._announced.add(stored)
            stored.listen(lambda piece, durable: self.announcer.piece_gained(blob_id, piece, durable))
        try:
            message = Join(blob=stored.blob, have=stored.have.to_bytes(), durable=stored.durable.to_bytes(), reading=reading)
            reply = await self.session.ask(message, timeout_s=self._settings.deadline_s)
        except FlyfsError as error:
            self._joined.discard(blob_id)
            log.debug("swarm.join.failed", blob=blob_id, reason=error.message)
            return
        if isinstance(reply, Joined) and blob_id in self._downloads:
            self.meet(blob_id, reply.neighbours)

    async def _tell_loss(self, blob_id: BlobId) -> None:
        """A blob went, or shrank: the supernode, if it was told of it, hears what is left."""
        if blob_id not in self._joined:
            return
        running = self._downloads.get(blob_id)
        try:
            stored = running.download.stored if running is not None else self._store.look(blob_id)
        except Unavailable as error:  # whoever asks us for it will hear that it is not held
            log.debug("swarm.loss.untold", blob=blob_id, reason=error.message)
            return
        if stored is None:
            self._joined.discard(blob_id)
            await self.session.tell(Leave(blob_id=blob_id))
        else:
            await self._join(stored, running is not None and not stored.have.complete, again=True)

    async def _join_all(self) -> None:
        """A new session knows nothing of us: tell it everything the store holds, what is read first."""
        first = list(self._downloads)
        for blob_id in first + [one for one in self._store.blob_ids() if one not in self._downloads]:
            stored = self._store.look(blob_id)
            if stored is not None and (stored.have.count or blob_id in self._downloads):
                await self._join(stored, blob_id in self._downloads and not stored.have.complete)

    def session_came(self, welcome: Welcome) -> None:
        """A supernode answers: it is a source for every download."""
        if welcome.key:
            self._keys.add(welcome.key)
        self._joined.clear()
        for running in self._downloads.values():
            running.download.picker.supernode_came()
            running.download.changed()
        assert self._nursery is not None
        self._nursery.start_soon(self._join_all)

    def session_left(self) -> None:
        """The supernode is gone; neighbours stay."""
        for running in self._downloads.values():
            running.download.picker.source_left(None)
            running.download.changed()

    def introduced(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """The supernode names more neighbours."""
        if blob_id in self._downloads:
            self.meet(blob_id, neighbours)

    def retired(self, blob_id: BlobId, reason: str) -> None:
        """The supernode says that a blob is over."""
        self.retire(blob_id, reason)

    # -- what downloads ask (download.Surroundings) ----------------------------------------------------------------

    async def fetch(self, source: Source, message: GetPiece, into: memoryview, *, timeout_s: float) -> Message:
        """Asks the supernode (None) or a neighbour for a piece."""
        if source is None:
            return await self.session.fetch(message, into, timeout_s=timeout_s)
        return await self.neighbours.fetch(source, message, into, timeout_s=timeout_s)

    async def ask_digests(self, blob_id: BlobId, page: int) -> Sequence[SignedDigests]:
        """What the supernode knows of a manifest page. Raises FlyfsError."""
        reply = await self.session.ask(GetDigests(blob_id=blob_id, page=page), timeout_s=DIGESTS_TIMEOUT_S)
        if not isinstance(reply, Digests):
            raise RemoteProtocolError(f"an answer to GetDigests that does not fit: {type(reply).__name__}")
        return reply.batches

    def meet(self, blob_id: BlobId, neighbours: Sequence[Neighbour]) -> None:
        """Gets in touch with neighbours for a blob that is being read."""
        others = [neighbour for neighbour in neighbours if neighbour.peer_id != self._store.peer_id]
        self.neighbours.meet(blob_id, others)

    def trusted_keys(self) -> frozenset[bytes]:
        """Keys of the supernodes we talked to since the start."""
        return frozenset(self._keys)

    def piece_came(self, source: Source, size: int) -> None:
        """Counts a verified piece."""
        self._counters.pieces_verified += 1
        if source is None:
            self._counters.supernode_bytes += size
        else:
            self._counters.peer_bytes += size

    def piece_rejected(self, source: Source, blob_id: BlobId) -> None:
        """Counts a wrong piece, and tells the supernode whose it was."""
        self._counters.pieces_rejected += 1
        if source is not None:
            self.unreachable(source, blob_id, "corrupt")

    def retire(self, blob_id: BlobId, reason: str) -> None:
        """Drops a blob from the store; its readers get Stale for what they do not have."""
        log.warning("swarm.blob.retired", blob=blob_id, reason=reason)
        running = self._downloads.get(blob_id)
        if running is not None:
            running.download.stop(Stale(f"{running.download.blob.url}: {reason}"))
            del self._downloads[blob_id]
            self.neighbours.part(blob_id)
        self._joined.discard(blob_id)
        assert self._nursery is not None
        self._nursery.start_soon(self._store.drop, blob_id)

    # -- what neighbours ask (neighbours.Downloads) ----------------------------------------------------------------

    def download(self, blob_id: BlobId) -> Download | None:
        """The running download of a blob."""
        running = self._downloads.get(blob_id)
        return running.download if running is not None else None

    def unreachable(self, peer: PeerId, blob_id: BlobId, fault: str) -> None:
        """Reports a neighbour's fault to the supernode, which decides what it means."""
        assert self._nursery is not None
        self._nursery.start_soon(self.session.tell, Report(peer_id=peer, blob_id=blob_id, fault=fault))


@dataclass(slots=True)
class _Running:
    download: Download
    users: int = 0
