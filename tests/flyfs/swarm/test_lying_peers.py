"""A peer that breaks its word, spoken on the wire, against a real peer and a real supernode."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from flyfs.core.address import Address
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob
from flyfs.core.errors import Stale
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.core.urls import parse_url
from flyfs.transport.greeting import Greeted, bound_address, dial, listen, serve
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import (
    MAJOR,
    MINOR,
    Busy,
    Elsewhere,
    Follow,
    GetPiece,
    Have,
    Hello,
    Holdings,
    Join,
    Message,
    NotHeld,
    Piece,
    Ping,
    Report,
    Welcome,
)
from tests.flyfs.swarm.rig import PIECE, World, a_world, read, until
from tests.support.builders import KEY, OTHER_KEY, a_peer_id

PIECES = 12


class Liar:
    """A peer that says it holds everything, and answers requests for pieces as told."""

    def __init__(self, blob: Blob, content: bytes, answer: Callable[["Liar", GetPiece], Answer]) -> None:
        self.peer_id = a_peer_id("liar")
        self.blob = blob
        self.content = content
        self.asked: list[int] = []
        self.heard: list[Message] = []
        self.links: list[Link] = []
        self._answer = answer

    def welcome(self, _: Hello) -> Welcome:
        return Welcome(major=MAJOR, minor=MINOR, peer_id=self.peer_id, role="peer", version="lies")

    async def session(self, greeted: Greeted) -> None:
        self.links.append(greeted.link)
        await greeted.link.run(self.handle)

    async def handle(self, _: Link, message: Message) -> Answer | None:
        self.heard.append(message)
        match message:
            case Follow():
                have = Bitmap.of(PIECES, range(PIECES)).to_bytes()
                return Answer(Holdings(have=have, durable=have))
            case GetPiece():
                self.asked.append(message.piece)
                return self._answer(self, message)
        return None

    def piece(self, message: GetPiece, data: bytes | None = None, key: SigningKey = KEY, proof: bool = True) -> Answer:
        """A reply with these bytes, by default the right ones, and a digest of them that ``key`` signed."""
        place = self.blob.grid.range_of(PieceIndex(message.piece))
        data = self.content[place.start : place.stop] if data is None else data
        batch: SignedDigests | None = key.sign(self.blob.id, message.piece, piece_digest(data)) if proof else None
        return Answer(Piece(piece=message.piece, length=len(data), proof=batch), memoryview(data))

    @asynccontextmanager
    async def joined(self, world: World) -> AsyncGenerator[None, None]:
        """While it serves, and the supernode knows it as a holder."""
        listener = listen(Address("127.0.0.1", 0))
        hello = Hello(
            major=MAJOR, minor=MINOR, peer_id=self.peer_id, role="peer", version="lies", address=str(bound_address(listener))
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, listener, self.welcome, self.session))
            async with dial(world.supernode.address, hello) as dialled:
                nursery.start_soon(dialled.link.run, self.handle)
                have = Bitmap.of(PIECES, range(PIECES)).to_bytes()
                await dialled.link.request(Join(blob=self.blob, have=have, durable=have, reading=False), timeout_s=5)
                members = world.supernode.coordinator.members
                await until(lambda: (member := members.find(self.peer_id)) and member.address)
                yield
                nursery.cancel_scope.cancel()


def wrong_bytes(liar: Liar, message: GetPiece) -> Answer:
    """Other bytes, and a proof of the right ones."""
    right = liar.piece(message)
    return Answer(right.message, memoryview(bytes(len(right.body))))  # type: ignore[arg-type]


ANSWERS: dict[str, Callable[[Liar, GetPiece], Answer]] = {
    "wrong bytes": wrong_bytes,
    "wrong bytes with their digest, signed by itself": lambda liar, message: liar.piece(message, b"\1" * PIECE, OTHER_KEY),
    "right bytes, signed by itself": lambda liar, message: liar.piece(message, key=OTHER_KEY),
    "right bytes without a proof": lambda liar, message: liar.piece(message, proof=False),
    "too short": lambda liar, message: liar.piece(message, b"\1" * 10),
    "another piece": lambda liar, message: Answer(
        Piece(piece=(message.piece + 1) % PIECES, length=PIECE, proof=None), memoryview(bytes(PIECE))
    ),
    "nothing": lambda liar, message: Answer(Piece(piece=message.piece, length=0, proof=None), memoryview(b"")),
    "redirects": lambda liar, message: Answer(Elsewhere(holders=())),
    "nonsense": lambda liar, message: Answer(Ping()),
}
HARMLESS: dict[str, Callable[[Liar, GetPiece], Answer]] = {
    "does not hold it": lambda liar, message: Answer(NotHeld()),
    "is busy": lambda liar, message: Answer(Busy(retry_after_s=60)),
}


@asynccontextmanager
async def a_swarm_with_a_liar(
    directory: Path, answer: Callable[[Liar, GetPiece], Answer]
) -> AsyncGenerator[tuple[World, Liar, bytes, "object"], None]:
    async with a_world(directory) as world, world.peer() as peer:
        url, content = world.put("/f", PIECES)
        file = await peer.find(url, read=False)
        assert file.blob is not None
        liar = Liar(file.blob, content, answer)
        async with liar.joined(world):
            yield world, liar, content, peer
        await peer.settled()


async def read_all(peer, blob: Blob, world: World) -> bytes:  # type: ignore[no-untyped-def]

    async with peer.opened(parse_url(blob.url), read=False) as opened:
        await until(lambda: peer.swarm.neighbours.connected or opened.figures().have_pieces)
        data = [await read(opened, at, PIECE) for at in range(PIECE // 2, blob.size, PIECE)]
        head = await read(opened, 0, PIECE // 2)
    return head + b"".join(data)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_peer_that_lies_is_found_out_and_no_wrong_byte_is_kept(
    tmp_path: Path, answer: Callable[[Liar, GetPiece], Answer]
) -> None:
    async with a_swarm_with_a_liar(tmp_path, answer) as (world, liar, content, peer):
        reports: list[Message] = []
        tell = peer.swarm.memberships.tell

        async def note(blob_id: BlobId, message: Message) -> None:
            reports.append(message)
            await tell(blob_id, message)

        peer.swarm._conduct._tell = note
        data = await read_all(peer, liar.blob, world)
        assert data == content
        assert liar.asked, "it was asked"
        assert len(liar.asked) <= PIECES
        assert peer.counters.peer_bytes == 0
        assert peer.counters.supernode_bytes == len(content)
        stored = peer.store.find(liar.blob.id)
        assert b"".join([bytes(await stored.read(at, PIECE)) for at in range(0, len(content), PIECE)]) == content
        await until(lambda: any(isinstance(one, Report) and one.peer_id == liar.peer_id for one in reports))


@pytest.mark.parametrize("answer", HARMLESS.values(), ids=HARMLESS)
async def test_a_peer_that_cannot_is_not_blamed(tmp_path: Path, answer: Callable[[Liar, GetPiece], Answer]) -> None:
    async with a_swarm_with_a_liar(tmp_path, answer) as (world, liar, content, peer):
        data = await read_all(peer, liar.blob, world)

        assert data == content
        assert peer.counters.pieces_rejected == 0
        assert peer.counters.peer_bytes == 0


async def test_a_peer_that_tells_the_truth_is_believed(tmp_path: Path) -> None:
    async with a_swarm_with_a_liar(tmp_path, Liar.piece) as (world, liar, content, peer):
        data = await read_all(peer, liar.blob, world)

        assert data == content
        assert peer.counters.pieces_rejected == 0
        assert peer.counters.peer_bytes > 0


async def test_two_signed_digests_for_one_piece_retire_the_blob_and_strike_nobody(tmp_path: Path) -> None:
    def forked(liar: Liar, message: GetPiece) -> Answer:
        return liar.piece(message, bytes([message.piece]) * PIECE)

    async with a_swarm_with_a_liar(tmp_path, forked) as (world, liar, content, peer):
        async with peer.opened(parse_url(liar.blob.url), read=False) as opened:
            stored = peer.store.find(liar.blob.id)
            stored.add_digests(KEY.sign(liar.blob.id, 5, piece_digest(content[5 * PIECE : 6 * PIECE])))
            batch = KEY.sign(liar.blob.id, 5, piece_digest(b"other") + piece_digest(b"bytes"))
            liar._answer = lambda one, message: Answer(
                Piece(piece=message.piece, length=PIECE, proof=batch), memoryview(bytes(PIECE))
            )
            await until(lambda: peer.swarm.neighbours.connected)
            with pytest.raises(Stale, match="two signed digests"):
                await read(opened, 6 * PIECE, 10)
            with pytest.raises(Stale):
                await read(opened, 7 * PIECE, 10)
        await until(lambda: peer.store.find(liar.blob.id) is None)
        assert peer.counters.pieces_rejected == 0
        assert not peer.swarm.neighbours.connected or liar.links
        await until(lambda: world.supernode.retired)  # the peer handed on the proof, and others are told
        assert world.supernode.members() == 2


async def test_news_beyond_the_grid_and_other_nonsense_harm_nobody(tmp_path: Path) -> None:
    async with (
        a_swarm_with_a_liar(tmp_path, Liar.piece) as (_, liar, content, peer),
        peer.opened(parse_url(liar.blob.url), read=False) as opened,
    ):
        await until(lambda: peer.swarm.neighbours.connected)
        link = next(link for link in liar.links if not link.closed)  # the supernode was here, and is gone
        await link.send(Have(blob_id=liar.blob.id, runs=((0, 10**9),)))
        await link.send(Have(blob_id=a_peer_id(), runs=((0, 1),)))  # type: ignore[arg-type]
        await link.send(Ping())
        assert await read(opened, 6 * PIECE, 10) == content[6 * PIECE : 6 * PIECE + 10]


async def test_a_peer_that_is_gone_is_named_in_vain_and_the_reader_comes_back_to_the_supernode(tmp_path: Path) -> None:
    async with a_swarm_with_a_liar(tmp_path, Liar.piece) as (world, liar, content, peer):
        member = world.supernode.coordinator.members.find(liar.peer_id)
        nowhere = listen(Address("127.0.0.1", 0))
        address = bound_address(nowhere)
        nowhere.close()
        object.__setattr__(member, "address", str(address))
        began = trio.current_time()

        async with peer.opened(parse_url(liar.blob.url), read=False) as opened:
            assert await read(opened, 6 * PIECE, 10) == content[6 * PIECE : 6 * PIECE + 10]
        assert trio.current_time() - began < 3
        assert peer.counters.peer_bytes == 0
        assert peer.swarm.neighbours.shunned.has(liar.peer_id, trio.current_time())


async def test_another_peer_at_the_announced_address_is_not_talked_to(tmp_path: Path) -> None:
    async with a_swarm_with_a_liar(tmp_path, Liar.piece) as (_, liar, content, peer):
        liar.peer_id = a_peer_id("somebody else")
        data = await read_all_without(peer, liar)

        assert data == content[6 * PIECE : 7 * PIECE]
        assert liar.asked == []


async def read_all_without(peer, liar: Liar) -> bytes:  # type: ignore[no-untyped-def]

    async with peer.opened(parse_url(liar.blob.url), read=False) as opened:
        return await read(opened, 6 * PIECE, PIECE)
