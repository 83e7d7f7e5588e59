"""A supernode that takes a blob over, and the peers that tell it the truth about it, or do not."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from flyfs.core.address import Address
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.errors import Stale
from flyfs.core.ids import BlobId, PieceIndex
from flyfs.core.manifest import SignedDigests, piece_digest
from flyfs.core.signing import SigningKey
from flyfs.transport.greeting import Dialled, Greeted, bound_address, dial, listen, serve
from flyfs.transport.link import Answer, Link
from flyfs.wire.messages import Digests, Forked, GetDigests, GetPiece, Join, Message, Piece, Reached, Retire
from supernode.cdn.adoption import MOST_ASKED
from tests.flyfs.swarm.rig import PIECE, World, a_world, until
from tests.support.builders import KEY, OTHER_KEY, a_hello, a_peer_id, a_welcome

PIECES = 12
HELD = range(4, 8)


class Peer:
    """A peer spoken on the wire: it holds ``HELD`` by its word, and answers questions for digests as told."""

    def __init__(self, name: str, dialled: Dialled, blob: Blob) -> None:
        self.peer_id = a_peer_id(name)
        self.link = dialled.link
        self.blob = blob
        self.batches: Sequence[SignedDigests] | None = ()
        self.asked = 0
        self.reached = False
        self.retired: list[str] = []

    async def handle(self, _: Link, message: Message) -> Answer | None:
        match message:
            case GetDigests():
                self.asked += 1
                return None if self.batches is None else Answer(Digests(batches=tuple(self.batches)))
            case Retire(reason=reason):
                self.retired.append(reason)
            case Reached(reason=""):
                self.reached = True
        return None

    async def join(self, held: range) -> None:
        have = Bitmap.of(PIECES, held).to_bytes()
        await self.link.request(Join(blob=self.blob, have=have, durable=have, reading=True), timeout_s=5)

    async def get(self, piece: int, ahead: int = 0, *, proof: bool = True) -> tuple[Message, bytes]:
        into = memoryview(bytearray(PIECE))
        message = GetPiece(blob_id=self.blob.id, piece=piece, demand=True, proof=proof, ahead=ahead)
        return await self.link.request(message, timeout_s=5, into=into), bytes(into)

    async def digests(self) -> Sequence[SignedDigests]:
        reply = await self.link.request(GetDigests(blob_id=self.blob.id, page=0), timeout_s=5)
        assert isinstance(reply, Digests)
        return reply.batches


async def greeted_only(_: Greeted) -> None:
    """It serves nobody."""


class Scene:
    """An origin with one file, and a supernode that never heard of it."""

    def __init__(self, world: World, blob: Blob, content: bytes, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        self.world = world
        self.blob = blob
        self.content = content
        self._stack = stack
        self._nursery = nursery

    async def peer(self, name: str) -> Peer:
        listener = listen(Address("127.0.0.1", 0))
        await self._nursery.start(partial(serve, listener, lambda _: a_welcome(name), greeted_only))
        hello = a_hello(name, address=str(bound_address(listener)))
        dialled = await self._stack.enter_async_context(dial(self.world.supernode.address, hello))
        peer = Peer(name, dialled, self.blob)
        self._nursery.start_soon(dialled.link.run, peer.handle)
        await until(lambda: peer.reached)
        return peer

    def batch(self, pieces: range = HELD, key: SigningKey = KEY, *, wrong: bool = False) -> SignedDigests:
        digests = [piece_digest(self.content[piece * PIECE : (piece + 1) * PIECE]) for piece in pieces]
        return key.sign(self.blob.id, pieces.start, b"".join([bytes(32)[:-1] + b"\1" if wrong else one for one in digests]))

    def read_ranges(self) -> list[str | None]:
        return [asked for method, asked in self.world.origin.asked("/f") if method == "GET"]


@asynccontextmanager
async def a_scene(directory: Path) -> AsyncGenerator[Scene, None]:
    async with a_world(directory) as world, AsyncExitStack() as stack, trio.open_nursery() as nursery:
        url, content = world.put("/f", PIECES)
        blob = Blob(
            url=str(url),
            principal="public",
            validator=Validator(ValidatorKind.ETAG, '"0"'),
            size=len(content),
            generation=0,
            piece_size=PIECE,
        )
        yield Scene(world, blob, content, stack, nursery)
        nursery.cancel_scope.cancel()


async def test_what_the_fleet_has_read_is_known_before_the_origin_is_read_and_no_read_goes_beyond_it(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        holder, reader = await scene.peer("holder"), await scene.peer("reader")
        holder.batches = [scene.batch()]
        await reader.join(range(0))
        await holder.join(HELD)

        reply, data = await reader.get(0, ahead=PIECES - 1)

        assert isinstance(reply, Piece)
        assert data == scene.content[:PIECE]
        await until(lambda: scene.world.sent_bytes("/f") == 4 * PIECE)
        assert scene.read_ranges() == [f"bytes=0-{4 * PIECE - 1}"]
        assert holder.asked == 1
        known = {piece for batch in await reader.digests() for piece in batch.pieces}
        assert set(HELD) < known


async def test_a_holder_that_comes_over_a_moment_later_saves_the_origin_a_read(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        holder, reader = await scene.peer("holder"), await scene.peer("reader")
        await reader.join(range(0))
        async with trio.open_nursery() as nursery:
            replies: list[Message] = []

            async def ask() -> None:
                replies.append((await reader.get(5))[0])

            nursery.start_soon(ask)
            await trio.sleep(0.05)
            await holder.join(range(6, 8))  # not the one that is waited for
            await trio.sleep(0.05)
            assert replies == []
            await holder.join(HELD)

        assert [one.peer_id for one in replies[0].holders] == [holder.peer_id]  # type: ignore[attr-defined]
        assert scene.read_ranges() == []


async def test_where_nobody_comes_the_origin_is_read_after_a_moment(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        reader = await scene.peer("reader")
        await reader.join(range(0))
        began = trio.current_time()

        assert (await reader.get(5))[1] == scene.content[5 * PIECE : 6 * PIECE]
        assert 0.2 < trio.current_time() - began < 2
        began = trio.current_time()
        await reader.get(6)
        assert trio.current_time() - began < 0.2, "the next one does not wait"


LIES: dict[str, Callable[[Scene], Sequence[SignedDigests] | None]] = {
    "signed by itself": lambda scene: [scene.batch(key=OTHER_KEY, wrong=True)],
    "the fleet's key, and a signature of its own": lambda scene: [forged(scene)],
    "of another blob": lambda scene: [KEY.sign("ab" * 32, 4, bytes(31) + b"\1")],  # type: ignore[arg-type]
    "beyond the end": lambda scene: [KEY.sign(scene.blob.id, PIECES - 1, bytes(31) + b"\1" + bytes(31) + b"\1")],
    "nothing at all": lambda scene: [],
    "silence": lambda scene: None,
}


def forged(scene: Scene) -> SignedDigests:
    lie = scene.batch(key=OTHER_KEY, wrong=True)
    return SignedDigests(blob_id=lie.blob_id, first=lie.first, digests=lie.digests, key=KEY.public, signature=lie.signature)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_fresh_supernode_that_is_told_forged_digests_harms_nobody(
    tmp_path: Path, lie: Callable[[Scene], Sequence[SignedDigests] | None]
) -> None:
    async with a_scene(tmp_path) as scene:
        liar, reader = await scene.peer("liar"), await scene.peer("reader")
        liar.batches = lie(scene)
        await liar.join(HELD)
        await reader.join(range(0))

        redirected, _ = await reader.get(5)
        assert [one.peer_id for one in redirected.holders] == [liar.peer_id]  # type: ignore[attr-defined]
        assert [await reader.digests()] == [()]
        served, data = await reader.get(5)  # it could not help

        assert isinstance(served, Piece)
        assert data == scene.content[5 * PIECE : 6 * PIECE]
        assert served.proof is not None
        assert served.proof.digests == piece_digest(data)
        assert liar.asked >= 1
        assert liar.retired == reader.retired == []
        assert scene.world.supernode.retired == []
        assert scene.world.supernode.members() == 2


async def test_one_lie_does_not_hide_the_truth_that_the_next_peer_tells(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        reader = await scene.peer("reader")
        await reader.join(range(0))
        peers = [await scene.peer(f"peer {number}") for number in range(MOST_ASKED)]
        for peer in peers:
            peer.batches = [forged(scene)]
            await peer.join(HELD)
        peers[-1].batches = [scene.batch()]

        assert {piece for batch in await reader.digests() for piece in batch.pieces} == set(HELD)
        assert [peer.asked for peer in peers] == [1] * MOST_ASKED
        await reader.digests()
        assert [peer.asked for peer in peers] == [1] * MOST_ASKED, "they are left alone for a while"


FORKS: dict[str, Callable[[Scene], Sequence[SignedDigests]]] = {
    "one batch": lambda scene: [scene.batch()],
    "twice the same": lambda scene: [scene.batch(), scene.batch()],
    "of different pieces": lambda scene: [scene.batch(range(2, 4)), scene.batch(wrong=True)],
    "one of them forged": lambda scene: [scene.batch(), forged(scene)],
    "signed by another key": lambda scene: [scene.batch(), scene.batch(key=OTHER_KEY, wrong=True)],
    "of another blob": lambda scene: [scene.batch(), KEY.sign("ab" * 32, 4, bytes(31) + b"\1")],  # type: ignore[arg-type]
}


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
async def test_a_fork_that_does_not_prove_itself_is_none(
    tmp_path: Path, fork: Callable[[Scene], Sequence[SignedDigests]]
) -> None:
    async with a_scene(tmp_path) as scene:
        peer = await scene.peer("peer")
        await peer.join(HELD)
        await peer.link.send(Forked(blob_id=scene.blob.id, batches=tuple(fork(scene))))
        await peer.link.send(Forked(blob_id=BlobId("cd" * 32), batches=tuple(fork(scene))))
        await peer.digests()

        assert scene.world.supernode.retired == []
        assert peer.retired == []


async def test_a_fork_that_proves_itself_retires_the_blob_for_everybody(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        peer, other = await scene.peer("peer"), await scene.peer("other")
        await peer.join(HELD)
        await other.join(range(0))
        await peer.link.send(Forked(blob_id=scene.blob.id, batches=(scene.batch(), scene.batch(range(6, 9), wrong=True))))

        await until(lambda: len(peer.retired) == 1 and len(other.retired) == 1)
        assert scene.world.supernode.members() == 2


async def test_two_askers_at_once_cost_a_holder_one_question(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        holder, reader = await scene.peer("holder"), await scene.peer("reader")
        holder.batches = [scene.batch()]
        await reader.join(range(0))
        await holder.join(HELD)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(reader.digests)

        assert holder.asked == 1


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "not signed yet"])
async def test_digests_that_contradict_what_was_read_here_retire_the_blob_and_strike_nobody(tmp_path: Path, signed: bool) -> None:
    async with a_scene(tmp_path) as scene:
        holder, reader = await scene.peer("holder"), await scene.peer("reader")
        await reader.join(range(0))
        feed = await scene.world.supernode.cdn.feed(scene.blob)
        if signed:
            await reader.get(5)
        else:
            feed._unsigned[PieceIndex(5)] = piece_digest(scene.content[5 * PIECE : 6 * PIECE])
        holder.batches = [scene.batch(range(4, 7), wrong=True)]
        await holder.join(range(4, 7))
        supernode = scene.world.supernode
        supernode.sessions.taking_over._adoption._asked_at.clear()
        with pytest.raises(Stale, match="two signed digests for piece 5"):
            await reader.get(3, ahead=4)

        await until(lambda: len(holder.retired) == 1 and len(reader.retired) == 1)
        assert len(supernode.retired) == 1
        assert supernode.members() == 2
