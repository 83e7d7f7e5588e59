"""What is at remote names, asked of the supernode that is responsible for them; of the origin while none answers. Shell."""

from flyfs.core.errors import RemoteProtocolError, Unanswered, Unavailable
from flyfs.core.ids import PUBLIC
from flyfs.core.remote import Entry, Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.store.store import Store
from flyfs.swarm.back_to_origin import BackToOrigin
from flyfs.swarm.session import SupernodeSession
from flyfs.swarm.supernodes import NoSupernode, Supernodes
from flyfs.wire.messages import DirectoryFound, FileFound, List, Listed, Stat

LISTING_RESTARTS = 3
"""How often a listing that changes while it is told, or whose supernode goes, is begun again."""

FOR_EVER_S = 1e9
"""Thirty years: the wire knows no infinity."""


class RemoteNames:
    """Answers ``stat`` and ``list``; the caller sets the deadline."""

    def __init__(self, supernodes: Supernodes, store: Store, origin: BackToOrigin | None, *, timeout_s: float) -> None:
        """``store`` knows the versions that this peer has met; ``origin`` is None where origins must not be asked from here."""
        self._supernodes = supernodes
        self._store = store
        self._origin = origin
        self._timeout_s = timeout_s

    async def stat(self, url: RemoteUrl, *, max_age_s: float, read: bool, pin: bool) -> RemoteFile | RemoteDirectory:
        """What is at ``url``.

        Raises:
            NotFound, Denied, TooLarge: what the origin, or its guard, said.
            Unavailable: it cannot be known now.
        """
        try:
            return await self._stat(url, max_age_s=max_age_s, read=read, pin=pin)
        except NoSupernode as nobody:
            if self._origin is None:
                raise
            try:
                return await self._origin.stat(url, self._store.blobs(), pin=pin)
            except Unavailable as error:
                raise Unavailable(f"{nobody.message}; from here: {error.message}") from error

    async def _stat(self, url: RemoteUrl, *, max_age_s: float, read: bool, pin: bool) -> RemoteFile | RemoteDirectory:
        key = str(url)

        def question(session: SupernodeSession) -> Stat:
            # One that stands in must not read along: somebody who is about to come over may hold the first piece.
            along = read and self._supernodes.is_responsible(session, key)
            return Stat(url=key, principal=PUBLIC, max_age_s=min(max_age_s, FOR_EVER_S), read=along, pin=pin)

        match await self._supernodes.ask(key, question, timeout_s=self._timeout_s):
            case FileFound(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential):
                if blob is not None and blob.url != str(url):
                    raise RemoteProtocolError(f"asked for {url.redacted()}, got another name")
                return RemoteFile(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential)
            case DirectoryFound(age_s=age_s):
                return RemoteDirectory(age_s=age_s)
            case reply:
                raise RemoteProtocolError(f"an answer to Stat that does not fit: {type(reply).__name__}")

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """The names in the directory ``url``. Raises as ``stat``."""
        try:
            return await self._list(url, max_age_s=max_age_s)
        except NoSupernode as nobody:
            if self._origin is None:
                raise
            try:
                return await self._origin.list(url)
            except Unavailable as error:
                raise Unavailable(f"{nobody.message}; from here: {error.message}") from error

    async def _list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """Page by page, all from one supernode."""
        for _ in range(LISTING_RESTARTS):
            session = await self._supernodes.reach(str(url))
            try:
                return await self._list_of(session, url, min(max_age_s, FOR_EVER_S))
            except _ListingChanged:
                continue
            except Unanswered:
                if session.up:
                    raise
        session = await self._supernodes.reach(str(url))
        return await self._list_of(session, url, min(max_age_s, FOR_EVER_S))

    async def _list_of(self, session: SupernodeSession, url: RemoteUrl, max_age_s: float) -> Listing:
        entries: list[Entry] = []
        serial = 0
        while True:
            question = List(url=str(url), principal=PUBLIC, max_age_s=max_age_s, serial=serial, start=len(entries))
            try:
                page = await session.ask(question, timeout_s=self._timeout_s)
            except Unavailable as error:
                if not serial or error.retry_after_s != 0.0:
                    raise
                raise _ListingChanged(error.message) from error  # a newer one has replaced what we have the first pages of
            if not isinstance(page, Listed) or page.start != len(entries) or (page.more and not page.entries):
                raise RemoteProtocolError("an answer to List that does not fit")
            serial = page.serial
            entries += page.entries
            if not page.more:
                return Listing(entries=tuple(entries), skipped=page.skipped, age_s=page.age_s)


class _ListingChanged(Unavailable):
    """A newer listing replaced the one that was being told."""
