"""Asks origins from here while no supernode answers: pieces, names and listings, under a small budget. Shell.

What comes this way serves this peer alone: nobody vouches for it until a supernode does. A refusal of our own address policy is
no answer about the name, because a supernode may be allowed what we are not.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import randbits

import trio

from flyfs.core.blob import Blob, ValidatorKind
from flyfs.core.errors import Denied, NotFound, Unavailable
from flyfs.core.ids import PUBLIC, PieceIndex
from flyfs.core.remote import Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.core.versions import VersionBook
from flyfs.limit.turns import Urgency
from flyfs.origin.answers import OriginAnswer, OriginDirectory, OriginHead
from flyfs.origin.client import OriginClient
from flyfs.origin.metered_stream import demanded
from flyfs.swarm.origin_budget import OriginBudget
from flyfs.telemetry.counters import Counters

COME_BACK_S = 0.5
"""When a prefetch that found no permit may try again."""


@dataclass(frozen=True, slots=True)
class FromOrigin:
    """The answer to a request for a piece: its bytes came from the origin itself, and nobody vouches for them."""


class BackToOrigin:
    """The origin client of a peer that is left alone."""

    def __init__(self, origin: OriginClient, counters: Counters, *, piece_size: int | None = None) -> None:
        """``piece_size`` overrides the rule, for tests and benchmarks."""
        self._origin = origin
        self._counters = counters
        self._piece_size = piece_size
        self._budget: OriginBudget | None = None
        self._freed = trio.Event()

    async def fetch(
        self, blob: Blob, piece: PieceIndex, into: memoryview, *, demand: bool, urgency: Urgency = demanded
    ) -> FromOrigin:
        """Reads a piece of ``blob`` into ``into``.

        Raises:
            Stale: the origin has another version.
            NotFound: certainly nothing is there any more.
            Unavailable: it cannot be had now: no permit for a prefetch, or an origin that is down, refuses, or sends its files
                whole only.
        """
        if blob.validator.kind is ValidatorKind.NONE:
            raise Unavailable(f"{blob.url}: nothing tells its versions apart, so only a supernode can read it, in one go")
        place = blob.grid.range_of(piece)
        async with self._permit(demand=demand):
            try:
                async with self._origin.read(parse_url(blob.url), place, {}, blob) as body:
                    if body.sequential and place.start:
                        raise Unavailable(f"{blob.url}: the origin sends it from its start only, which a supernode must do")
                    count = await body.receive_into(into, urgency)
            except Denied as error:
                raise Unavailable(error.message) from error
        if count != len(into):
            raise Unavailable(f"{blob.url}: the origin sent fewer bytes than it promised")
        self._counters.origin_bytes += count
        return FromOrigin()

    async def stat(self, url: RemoteUrl, known: Sequence[Blob], *, pin: bool) -> RemoteFile | RemoteDirectory:
        """What is at ``url``; ``known`` are blobs of this peer, so that a version without a strong validator is recognised.

        Content without a length is not read whole from here, though ``pin`` asks for that.

        Raises:
            NotFound: certainly nothing.
            Unavailable: it cannot be known now.
        """
        async with self._permit(demand=True):
            try:
                answer = await self._find(url)
            except Denied as error:
                raise Unavailable(error.message) from error
        if isinstance(answer, OriginDirectory):
            return RemoteDirectory(age_s=0.0)
        if pin and answer.size is None:
            raise Unavailable(f"{url.redacted()}: the origin gives no length, so only a supernode can read it, in one go")
        return self._file(url, answer, known)

    async def _find(self, url: RemoteUrl) -> OriginAnswer:
        try:
            return await self._origin.stat(url, {})
        except NotFound as missing:
            return await self._origin.directory_instead(url, {}, missing)

    def _file(self, url: RemoteUrl, head: OriginHead, known: Sequence[Blob]) -> RemoteFile:
        blob = None
        if head.size is not None:
            versions = VersionBook(lambda: randbits(63) | 1, self._piece_size)
            for one in reversed(known):  # the most recently used one of a name is the one to go on with
                if one.url == str(url):
                    versions.learn(one)
            blob = versions.blob_of(str(url), PUBLIC, head.validator, head.size)
        sequential = head.accepts_ranges is False or head.validator.kind is ValidatorKind.NONE
        return RemoteFile(blob=blob, modified_s=head.told_s, age_s=0.0, sequential=sequential)

    async def list(self, url: RemoteUrl) -> Listing:
        """The names in the directory ``url``. Raises as ``stat``."""
        async with self._permit(demand=True):
            try:
                listing = await self._origin.list(url, {})
            except Denied as error:
                raise Unavailable(error.message) from error
        return Listing(entries=tuple(listing.entries), skipped=listing.skipped, age_s=0.0)

    @asynccontextmanager
    async def _permit(self, *, demand: bool) -> AsyncGenerator[None, None]:
        """Holds one permit; a demand waits for it, the caller sets the deadline. Raises Unavailable for a prefetch."""
        self._budget = budget = self._budget or OriginBudget(trio.current_time())
        while wait_s := budget.ask(trio.current_time(), demand=demand):
            if not demand:
                raise Unavailable("the permits to ask the origin are used up", retry_after_s=min(wait_s, COME_BACK_S))
            freed = self._freed
            with trio.move_on_after(wait_s):
                await freed.wait()
        try:
            yield
        finally:
            budget.ended()
            freed, self._freed = self._freed, trio.Event()
            freed.set()
