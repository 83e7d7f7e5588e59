import hashlib
import random
import socket
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.core import errors
from flyfs.core.errors import Denied, FlyfsError, LocalProtocolError, NotFound, Stale, Unanswered, Unavailable
from flyfs.core.grid import KIB, MIB
from flyfs.transport.buffers import BufferPool
from flyfs.transport.link import MAX_INCOMING, Answer, Body, FileRange, Link
from flyfs.wire.messages import Done, Failed, GetPiece, Have, Leave, Message, NotHeld, Piece, Ping, Retire
from tests.flyfs.transport.pairs import connected_sockets, linked, nothing, raw_peer, stuffed, until
from tests.support.builders import a_blob_id

SOON_S = 5.0


@pytest.fixture
def clock() -> MockClock:
    """Time passes at once when all wait; sockets on loopback get their moment of real time first."""
    return MockClock(autojump_threshold=0.05)


def get(piece: int = 0) -> GetPiece:
    return GetPiece(blob_id=a_blob_id(), piece=piece, demand=True, proof=False)


def data_of(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


class Bodies:
    """A handler that answers a piece ``n`` with ``n`` bytes, and keeps what ``after`` was told."""

    def __init__(self, file: int | None = None) -> None:
        self.file = file
        self.through: list[tuple[int, bool]] = []

    async def __call__(self, _: Link, message: Message) -> Answer | None:
        assert isinstance(message, GetPiece)
        size = message.piece
        body: Body = memoryview(data_of(size)) if self.file is None else FileRange(self.file, 3, 3 + size)
        return Answer(Piece(piece=size, length=size, proof=None), body, lambda through: self.through.append((size, through)))


SIZES = [1, 2, 16 * KIB - 1, 16 * KIB, 64 * KIB + 1, 512 * KIB, MIB, 3 * MIB]


@pytest.mark.parametrize("size", SIZES)
async def test_bodies_from_memory_arrive_byte_by_byte(size: int) -> None:
    bodies = Bodies()
    async with linked(bodies) as pair:
        into = bytearray(size)
        reply = await pair.left.request(get(size), timeout_s=SOON_S, into=memoryview(into))
        assert reply == Piece(piece=size, length=size, proof=None)
        assert bytes(into) == data_of(size)
        await until(lambda: bodies.through == [(size, True)])


@pytest.mark.parametrize("size", SIZES)
async def test_bodies_from_files_arrive_byte_by_byte(size: int, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"abc" + data_of(size) + b"xyz")
    with path.open("rb") as file:
        bodies = Bodies(file.fileno())
        async with linked(bodies) as pair:
            into = bytearray(size)
            await pair.left.request(get(size), timeout_s=SOON_S, into=memoryview(into))
            assert bytes(into) == data_of(size)
            await until(lambda: bodies.through == [(size, True)])


async def test_many_bodies_are_pipelined_both_ways() -> None:
    chance = random.Random(5)
    sizes = [chance.randrange(1, 300 * KIB) for _ in range(40)]
    found: list[bool] = []

    async def fetch(link: Link, size: int) -> None:
        into = bytearray(size)
        await link.request(get(size), timeout_s=30, into=memoryview(into))
        found.append(bytes(into) == data_of(size))

    async with linked(Bodies(), Bodies()) as pair, trio.open_nursery() as nursery:
        for size in sizes:
            nursery.start_soon(fetch, pair.left, size)
            nursery.start_soon(fetch, pair.right, size)
    assert found == [True] * 80


async def test_replies_come_in_any_order() -> None:
    gates = {number: trio.Event() for number in range(3)}

    async def handle(_: Link, message: Message) -> Answer:
        assert isinstance(message, GetPiece)
        await gates[message.piece].wait()
        return Answer(Failed(kind="stale", message=str(message.piece)))

    order: list[str] = []

    async def ask(link: Link, number: int) -> None:
        with pytest.raises(Stale) as stale:
            await link.request(get(number), timeout_s=SOON_S)
        order.append(stale.value.message)

    async with linked(handle) as pair, trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(ask, pair.left, number)
        for number in (2, 0, 1):
            await wait_all_tasks_blocked()
            gates[number].set()
            await until(lambda number=number: str(number) in order)
    assert order == ["2", "0", "1"]


@pytest.mark.parametrize("error", [
    *(kind("so it is") for name, kind in errors.WIRE_ERRORS.items() if name != "unavailable"),
    Unavailable("later", retry_after_s=2.5),
])  # fmt: skip
async def test_the_kind_of_an_error_crosses_the_wire(error: FlyfsError) -> None:
    async def handle(_: Link, message: Message) -> Answer:
        raise error

    async with linked(handle) as pair:
        with pytest.raises(type(error)) as told:
            await pair.left.request(Ping(), timeout_s=SOON_S)
        assert type(told.value) is type(error)
        assert told.value.message == error.message
        assert getattr(told.value, "retry_after_s", None) == getattr(error, "retry_after_s", None)


@pytest.mark.parametrize(("error", "message"), [
    (errors.ConfigError("our own business"), "our own business"),
    (LocalProtocolError("our own fault"), "our own fault"),
    (Unanswered("somebody else is away"), "somebody else is away"),
    (ZeroDivisionError("a secret"), "internal error; see the log of the other side"),
    (ExceptionGroup("a secret", [NotFound("gone")]), "internal error; see the log of the other side"),
])  # fmt: skip
async def test_all_other_errors_are_told_as_unavailable(error: Exception, message: str) -> None:
    async def handle(_: Link, asked: Message) -> Answer:
        raise error

    async with linked(handle) as pair:
        with pytest.raises(Unavailable) as told:
            await pair.left.request(Ping(), timeout_s=SOON_S)
        assert type(told.value) is Unavailable
        assert told.value.message == message
        assert not pair.right.closed


async def test_a_long_message_of_an_error_is_cut() -> None:
    async def handle(_: Link, message: Message) -> Answer:
        raise Denied("x" * 200_000)

    async with linked(handle) as pair:
        with pytest.raises(Denied, match=r"^x{16384}$"):
            await pair.left.request(Ping(), timeout_s=SOON_S)


@pytest.mark.parametrize("answer", [
    Answer(Retire(blob_id=a_blob_id(), reason="x" * 200_000)),
    Answer(Failed(kind="stale", message="\ud800")),
    Answer(Piece(piece=0, length=5, proof=None)),
    Answer(Piece(piece=0, length=5, proof=None), memoryview(b"four")),
    Answer(Done(), memoryview(b"four")),
])  # fmt: skip
async def test_an_answer_that_cannot_be_sent_costs_one_request_only(answer: Answer) -> None:
    through: list[bool] = []

    async def handle(_: Link, message: Message) -> Answer:
        return Answer(answer.message, answer.body, through.append) if isinstance(message, GetPiece) else Answer(Done())

    async with linked(handle) as pair:
        with pytest.raises(Unavailable, match="internal error"):
            await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(bytearray(5)))
        assert await pair.left.request(Ping(), timeout_s=SOON_S) == Done()
    assert through == [False]


async def test_a_message_that_cannot_be_sent_is_the_callers_fault_and_costs_nothing() -> None:
    async with linked() as pair:
        with pytest.raises(LocalProtocolError):
            await pair.left.send(Retire(blob_id=a_blob_id(), reason="x" * 200_000))
        with pytest.raises(LocalProtocolError):
            await pair.left.request(Failed(kind="\ud800", message=""), timeout_s=SOON_S)
        with pytest.raises(LocalProtocolError, match="a Piece with a body of 4 bytes"):
            await pair.left.send(Piece(piece=0, length=5, proof=None), body=memoryview(b"four"))
        assert not pair.left._pending
        assert await pair.left.request(Ping(), timeout_s=SOON_S) == Done()


async def test_a_request_given_up_inside_its_body_leaves_the_connection_sound(clock: MockClock) -> None:
    pool = BufferPool()
    async with raw_peer() as peer:
        loan = pool.lend_nowait(100 * KIB)
        assert loan is not None

        async def ask() -> None:
            with loan as view, pytest.raises(Unanswered, match=r"no answer to GetPiece within 2\.0 s"):
                await peer.link.request(get(), timeout_s=2.0, into=view)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = await peer.next()
            await peer.send(Piece(piece=0, length=100 * KIB, proof=None), asked.request_id, b"a" * 50 * KIB)

        with pool.lend_nowait(100 * KIB) or pytest.fail("refused") as view:  # the same memory, now somebody else's
            view[:] = bytes(100 * KIB)
            await peer.stream.send_all(b"b" * 50 * KIB)
            await peer.send(Ping(), 2)
            assert (await peer.next()).message == Done()
            assert bytes(view) == bytes(100 * KIB)

        async with trio.open_nursery() as nursery:
            into = bytearray(3)
            nursery.start_soon(_request, peer.link, memoryview(into))
            await peer.send(Piece(piece=1, length=3, proof=None), (await peer.next()).request_id, b"yes")
        assert bytes(into) == b"yes"


async def _request(link: Link, into: memoryview) -> None:
    await link.request(get(), timeout_s=SOON_S, into=into)


async def test_a_whole_body_that_comes_too_late_is_thrown_away(clock: MockClock) -> None:
    async with raw_peer() as peer:
        into = bytearray(5)
        with pytest.raises(Unanswered):
            await peer.link.request(get(), timeout_s=1.0, into=memoryview(into))
        await peer.send(Piece(piece=0, length=5, proof=None), (await peer.next()).request_id, b"later")
        await peer.send(Ping(), 2)
        assert (await peer.next()).message == Done()
        assert bytes(into) == bytes(5)
        assert not peer.link._pending


async def test_late_and_unknown_replies_are_no_fault(clock: MockClock) -> None:
    async with raw_peer() as peer:
        with pytest.raises(Unanswered):
            await peer.link.request(Ping(), timeout_s=1.0)
        late = await peer.next()
        for request_id in (late.request_id, late.request_id, 99):
            await peer.send(Done(), request_id)
        await peer.send(Ping(), 2)
        assert (await peer.next()).message == Done()


@pytest.mark.parametrize(("request_id", "length"), [(0, 5), (2, 5), (99, 5), (1, 4), (1, 6), (1, 1 << 62)])
async def test_a_body_that_nobody_asked_for_breaks_the_protocol(request_id: int, length: int) -> None:
    async with raw_peer() as peer, trio.open_nursery() as nursery:
        into = bytearray(5)

        async def ask() -> None:
            with pytest.raises(Unanswered, match="protocol violated"):
                await peer.link.request(get(), timeout_s=SOON_S, into=memoryview(into))

        nursery.start_soon(ask)
        assert (await peer.next()).request_id == 1
        await peer.send(Piece(piece=0, length=length, proof=None), request_id, b"12345")
        await peer.ended.wait()
        assert "bytes that nobody asked for" in str(peer.guilty)
        assert bytes(into) == bytes(5)


async def test_neither_may_a_body_answer_a_request_twice_or_one_without_a_buffer() -> None:
    for into in (memoryview(bytearray(5)), None):
        async with raw_peer() as peer, trio.open_nursery() as nursery:

            async def ask(link: Link = peer.link, into: memoryview | None = into) -> None:
                if into is None:
                    with pytest.raises(Unanswered):
                        await link.request(get(), timeout_s=SOON_S)
                else:
                    await link.request(get(), timeout_s=SOON_S, into=into)

            nursery.start_soon(ask)
            request_id = (await peer.next()).request_id
            for _ in range(2):
                await peer.send(Piece(piece=0, length=5, proof=None), request_id, b"12345")
            await peer.ended.wait()
            assert "bytes that nobody asked for" in str(peer.guilty)


async def test_a_late_body_of_another_length_breaks_the_protocol(clock: MockClock) -> None:
    async with raw_peer() as peer:
        with pytest.raises(Unanswered):
            await peer.link.request(get(), timeout_s=1.0, into=memoryview(bytearray(5)))
        await peer.send(Piece(piece=0, length=1 << 62, proof=None), (await peer.next()).request_id)
        await peer.ended.wait()
        assert peer.guilty is not None


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", bytes(4), b"\0\0\0\1\xc1"])
async def test_garbage_ends_the_connection_and_names_the_guilty(data: bytes) -> None:
    async with raw_peer() as peer:
        await peer.stream.send_all(data)
        await peer.ended.wait()
        assert peer.guilty is not None
        assert peer.link.closed


async def _waits_for_ever(link: Link, told: list[str]) -> None:
    with pytest.raises(Unanswered) as lost:
        await link.request(Ping(), timeout_s=1000)
    told.append(lost.value.message)


@pytest.mark.parametrize("how", ["closed", "reset", "shut down", "by us"])
async def test_a_lost_connection_wakes_everybody(how: str) -> None:
    told: list[str] = []
    async with raw_peer() as peer, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(_waits_for_ever, peer.link, told)
        await wait_all_tasks_blocked()
        match how:
            case "closed":
                await peer.stream.aclose()
            case "reset":
                peer.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await peer.stream.aclose()
            case "shut down":
                await peer.stream.send_eof()
            case _:
                peer.link.close("enough")
        await peer.ended.wait()
        assert peer.guilty is None
    assert len(told) == 5
    assert peer.link.closed
    if how == "by us":
        assert told == ["link: enough"] * 5


async def test_a_body_may_come_in_crumbs_and_long_after_its_frame() -> None:
    size = 3 * KIB
    async with raw_peer() as peer, trio.open_nursery() as nursery:
        into = bytearray(size)
        nursery.start_soon(_request, peer.link, memoryview(into))
        await peer.send(Piece(piece=0, length=size, proof=None), (await peer.next()).request_id)
        for start in range(0, size, KIB):
            await wait_all_tasks_blocked(0.005)
            await peer.stream.send_all(data_of(size)[start : start + KIB])
        await peer.send(Ping(), 2)
        assert (await peer.next()).message == Done(), "the low-water mark is back to one byte"
    assert bytes(into) == data_of(size)


async def test_an_end_inside_a_body_is_a_lost_connection() -> None:
    async with raw_peer() as peer, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Unanswered, match="inside a body"):
                await peer.link.request(get(), timeout_s=SOON_S, into=memoryview(bytearray(MIB)))

        nursery.start_soon(ask)
        await peer.send(Piece(piece=0, length=MIB, proof=None), (await peer.next()).request_id, bytes(1000))
        await peer.stream.aclose()


async def test_a_closed_link_refuses_at_once_with_an_error_of_its_own_each_time() -> None:
    async with linked() as pair:
        pair.left.close("first")
        pair.left.close("second")
        seen: list[Unanswered] = []
        for _ in range(2):
            with pytest.raises(Unanswered, match="left: first") as one:
                await pair.left.request(Ping(), timeout_s=SOON_S)
            with pytest.raises(Unanswered, match="left: first") as other:
                await pair.left.send(Ping())
            seen += [one.value, other.value]
        assert len({id(error) for error in seen}) == 4, "a shared error would keep every frame it passed alive"


async def test_after_is_told_once_that_the_answer_did_not_get_through() -> None:
    bodies, size = Bodies(), 8 * MIB
    async with raw_peer(bodies, dialled=False, small=True) as peer:
        await peer.send(get(size), 1)
        assert (await peer.next()).request_id == 1
        await peer.stream.aclose()
        await peer.ended.wait()
    assert bodies.through == [(size, False)]


async def test_after_is_told_when_the_link_is_cancelled() -> None:
    bodies, size = Bodies(), 8 * MIB
    async with raw_peer(bodies, dialled=False, small=True) as peer:
        await peer.send(get(size), 1)
        await wait_all_tasks_blocked(0.02)
        assert bodies.through == []
    assert bodies.through == [(size, False)]


async def test_after_is_told_for_events_too_whose_answers_go_nowhere() -> None:
    bodies = Bodies()
    async with raw_peer(bodies) as peer:
        await peer.send(get(7), 0)
        await until(lambda: bodies.through == [(7, False)])
        assert not peer.link.closed


async def test_an_event_that_fails_is_nobodys_answer() -> None:
    async def handle(_: Link, message: Message) -> Answer | None:
        if isinstance(message, Leave):
            raise NotFound("what?")
        return Answer(Done())

    async with raw_peer(handle) as peer:
        await peer.send(Leave(blob_id=a_blob_id()))
        await peer.send(Ping(), 2)
        answer = await peer.next()
        assert (answer.request_id, answer.message) == (2, Done())


async def test_a_body_from_a_file_waits_for_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"abc" + data_of(MIB))
    with path.open("rb") as file:
        async with linked(Bodies(file.fileno()), small=True) as pair:
            into = bytearray(MIB)
            await pair.left.request(get(MIB), timeout_s=30, into=memoryview(into))
            assert bytes(into) == data_of(MIB)


async def test_a_file_that_is_too_short_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        bodies = Bodies(file.fileno())
        async with linked(bodies) as pair:
            with pytest.raises(Unanswered):
                await pair.left.request(get(1000), timeout_s=SOON_S, into=memoryview(bytearray(1000)))
            await until(lambda: bodies.through == [(1000, False)])
            assert pair.right.closed


async def test_a_reader_that_does_not_read_holds_up_nobody_else() -> None:
    bodies = Bodies()
    async with raw_peer(bodies, dialled=False, small=True) as deaf, linked(bodies) as pair:
        await deaf.send(get(8 * MIB), 1)
        await wait_all_tasks_blocked(0.02)
        into = bytearray(MIB)
        await pair.left.request(get(MIB), timeout_s=SOON_S, into=memoryview(into))
        assert bytes(into) == data_of(MIB)
        assert bodies.through == [(MIB, True)]


async def test_a_full_connection_still_receives(clock: MockClock) -> None:
    """Our answers may wait for a reader while its requests and replies come in."""
    served: list[Message] = []

    async def handle(_: Link, message: Message) -> Answer | None:
        served.append(message)
        return Answer(Piece(piece=0, length=MIB, proof=None), memoryview(bytes(MIB))) if isinstance(message, GetPiece) else None

    async with raw_peer(handle, dialled=False, small=True) as peer:
        for number in range(4):
            await peer.send(get(), 2 * number + 1)
        await peer.send(Leave(blob_id=a_blob_id()))
        await until(lambda: len(served) == 5)


async def test_sending_that_is_cut_short_costs_the_connection() -> None:
    async with raw_peer(small=True) as peer:
        with trio.move_on_after(0.05) as scope:
            await peer.link.send(Piece(piece=0, length=8 * MIB, proof=None), 2, memoryview(bytes(8 * MIB)))
        assert scope.cancelled_caught
        assert peer.link.closed
        await peer.ended.wait()
        with pytest.raises(Unanswered, match="a message was cut short"):
            await peer.link.send(Ping())


async def test_giving_up_before_the_first_byte_costs_nothing() -> None:
    dialled, accepted = connected_sockets(small=True)
    link = Link(dialled, "link", dialled=True)
    stuffed(dialled)
    with accepted, trio.move_on_after(0.05) as scope:
        await link.send(Ping())
    assert scope.cancelled_caught
    assert not link.closed
    link.close()


async def test_a_request_that_never_left_is_forgotten() -> None:
    dialled, accepted = connected_sockets(small=True)
    link = Link(dialled, "link", dialled=True)
    stuffed(dialled)
    with accepted:
        for _ in range(3):
            with pytest.raises(Unanswered, match="no answer to Ping"):
                await link.request(Ping(), timeout_s=0.01)
        assert not link._pending
        link.close()


async def test_a_request_that_waits_behind_a_body_can_be_given_up() -> None:
    async with raw_peer(small=True) as peer, trio.open_nursery() as nursery:

        async def bulk() -> None:
            await peer.link.send(Piece(piece=0, length=8 * MIB, proof=None), 2, memoryview(bytes(8 * MIB)))

        nursery.start_soon(bulk)
        await wait_all_tasks_blocked(0.02)
        with pytest.raises(Unanswered):
            await peer.link.request(Ping(), timeout_s=0.01)
        assert not peer.link.closed
        nursery.cancel_scope.cancel()


async def test_no_more_than_the_limit_are_in_work_at_once_and_the_rest_waits_in_the_socket() -> None:
    begun, gate, answered = 0, trio.Event(), 0

    async def handle(_: Link, message: Message) -> Answer:
        nonlocal begun
        begun += 1
        await gate.wait()
        return Answer(Done())

    async def ask(link: Link) -> None:
        nonlocal answered
        await link.request(Ping(), timeout_s=SOON_S)
        answered += 1

    async with linked(handle) as pair, trio.open_nursery() as nursery:
        for _ in range(MAX_INCOMING + 50):
            nursery.start_soon(ask, pair.left)
        await until(lambda: begun == MAX_INCOMING)
        await wait_all_tasks_blocked(0.02)
        assert begun == MAX_INCOMING
        gate.set()
    assert answered == MAX_INCOMING + 50


async def test_equal_messages_may_be_in_work_at_once() -> None:
    begun, gate = 0, trio.Event()

    async def handle(_: Link, message: Message) -> Answer | None:
        nonlocal begun
        begun += 1
        await gate.wait()
        return None

    async with raw_peer(handle) as peer:
        for _ in range(3):
            await peer.send(Leave(blob_id=a_blob_id()))
            await peer.send(Ping(), 2)
        await until(lambda: begun == 6)
        gate.set()
        await peer.send(Ping(), 4)
        await until(lambda: begun == 7)
        assert not peer.link.closed


async def test_handlers_begin_in_the_order_of_the_messages() -> None:
    seen: list[int] = []

    async def handle(_: Link, message: Message) -> Answer | None:
        match message:
            case Have(runs=runs):
                seen.append(runs[0][0])
            case GetPiece(piece=piece):
                seen.append(piece)
        await trio.lowlevel.checkpoint()
        return None

    async with raw_peer(handle, dialled=False) as peer:
        for number in range(0, 400, 2):
            await peer.send(Have(blob_id=a_blob_id(), runs=((number, 1),)))
            await peer.send(get(number + 1), 2 * number + 1)
        await until(lambda: len(seen) == 400)
    assert seen == list(range(400))


async def test_a_flood_of_messages_does_not_keep_the_loop_to_itself() -> None:
    dialled, accepted = connected_sockets()
    link = Link(dialled, "link", dialled=True)
    unknown = b"\0\0\4\0\x93\x63\0\x91\xc5\3\xf9" + bytes(1017)
    sent = 0
    while True:
        try:
            sent += accepted.send(unknown * 100)
        except BlockingIOError:
            break
    turns = 0

    async def other_work() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_work)
        accepted.shutdown(socket.SHUT_WR)
        await link.run(nothing)
        nursery.cancel_scope.cancel()
    accepted.close()
    assert turns >= sent // (16 * KIB) // 2


async def test_late_replies_in_a_row_do_not_starve_others_either() -> None:
    async with raw_peer() as peer:
        for number in range(2000):
            await peer.send(NotHeld(), 2 * number + 1)
        await peer.send(Ping(), 2)
        assert (await peer.next()).message == Done()


@pytest.mark.parametrize("size", [5, MIB])
async def test_a_request_may_be_cancelled_at_any_moment(size: int) -> None:
    """After each of the first turns of the loop: the connection is sound or closed, the buffer never written to again."""
    finished = 0
    for turns in range(60):
        async with linked(Bodies()) as pair:
            memory = bytearray(size)
            view = memoryview(memory)
            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, scope, turns)
                with scope:
                    await pair.left.request(get(size), timeout_s=SOON_S, into=view)
                    finished += 1
            view.release()
            if scope.cancelled_caught:
                memory[:] = bytes(size)
                if not pair.left.closed:
                    into = bytearray(7)
                    await pair.left.request(get(7), timeout_s=SOON_S, into=memoryview(into))
                    assert bytes(into) == data_of(7)
                assert bytes(memory) == bytes(size)
            else:
                assert bytes(memory) == data_of(size)
            assert not pair.guilty
    assert finished, "the later ones are cancelled too late"


async def _cancel_after(scope: trio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_running_may_be_cancelled_at_any_moment() -> None:
    for turns in range(30):
        through: list[bool] = []

        async def handle(_: Link, message: Message, through: list[bool] = through) -> Answer:
            await trio.lowlevel.checkpoint()
            return Answer(Done(), after=through.append)

        dialled, accepted = connected_sockets()
        link = Link(dialled, "link", dialled=True)
        other = Link(accepted, "other", dialled=False)
        scope = trio.CancelScope()
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, scope, turns)
                await other.send(Ping(), 2)
                await link.run(handle)
        assert link.closed
        assert len(through) <= 1
        other.close()
