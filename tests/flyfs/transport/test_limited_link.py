"""Links under the host's limit: how fast, in which order, and whose fault it is not."""

import fcntl
import hashlib
import socket
import struct
import time
from collections.abc import Generator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flyfs.core.errors import Unanswered
from flyfs.core.grid import KIB, MIB
from flyfs.limit.bucket import Priority
from flyfs.limit.host_limit import HostLimit
from flyfs.limit.receive_buffer import BUFFER_US, LEAST_BUFFER_BYTES
from flyfs.transport.bulk import UNSENT_BYTES, tune
from flyfs.transport.link import Answer, Body, FileRange, Link, priority_of
from flyfs.wire.messages import Done, GetPiece, Message, Piece, Ping
from tests.flyfs.transport.pairs import connected_sockets, linked, raw_peer, stuffed, until
from tests.support.builders import a_blob_id

RATE = 8_000_000
SIZE = 2 * MIB
BURST = RATE // 50
SOON_S = 20.0

_SIOCOUTQNSD = 0x894B
"""linux/sockios.h: bytes that were not sent yet."""


def get(piece: int = 0, *, demand: bool = False, background: bool = False) -> GetPiece:
    return GetPiece(blob_id=a_blob_id(), piece=piece, demand=demand, proof=False, background=background)


def data_of(size: int) -> bytes:
    return hashlib.shake_128(str(size).encode()).digest(size)


def at_least_s(size: int, rate: int = RATE) -> float:
    """What a limit makes ``size`` bytes take: all but the burst, and what came with the frame."""
    return (size - rate // 50 - 32 * KIB) / rate


@pytest.fixture
def limit(tmp_path: Path) -> Generator[HostLimit, None, None]:
    with HostLimit.open([tmp_path / "run"], RATE) as limit:
        yield limit


def set_rate(limit: HostLimit, rate: int) -> None:
    assert limit._file is not None
    limit._file.set_rates(receive=rate, send=rate)


class Bodies:
    """Answers a request for piece ``n`` with the same ``SIZE`` bytes, from memory or from a file."""

    def __init__(self, file: int | None = None) -> None:
        self._body: Body = memoryview(data_of(SIZE)) if file is None else FileRange(file, 0, SIZE)

    async def __call__(self, _: Link, message: Message) -> Answer:
        assert isinstance(message, GetPiece)
        return Answer(Piece(piece=message.piece, length=SIZE, proof=None), self._body)


@pytest.mark.parametrize("priority", Priority, ids=lambda priority: priority.name)
async def test_a_limited_receiver_takes_its_time_and_every_byte(limit: HostLimit, priority: Priority) -> None:
    async with linked(Bodies(), limit=limit) as pair:
        into = bytearray(SIZE)
        began = time.monotonic()
        await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(into), urgency=lambda: priority)
        assert time.monotonic() - began >= at_least_s(SIZE)
        assert bytes(into) == data_of(SIZE)


@pytest.mark.parametrize("where", ["memory", "file"])
async def test_a_limited_sender_takes_its_time_and_sends_every_byte(limit: HostLimit, tmp_path: Path, where: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(data_of(SIZE))
    with path.open("rb") as file:
        async with linked(Bodies(file.fileno() if where == "file" else None), right_limit=limit) as pair:
            into = bytearray(SIZE)
            began = time.monotonic()
            await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(into))
            assert time.monotonic() - began >= at_least_s(SIZE)
            assert bytes(into) == data_of(SIZE)


async def test_a_limited_sender_waits_for_its_reader_and_loses_no_budget_meanwhile(limit: HostLimit) -> None:
    async with raw_peer(Bodies(), dialled=False, small=True) as peer, linked(Bodies(), right_limit=limit) as pair:
        peer.link._limit = limit  # the deaf one is under the same limit
        await peer.send(get(), 1)
        await wait_all_tasks_blocked(0.02)
        began = time.monotonic()
        into = bytearray(SIZE)
        await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(into))
        assert at_least_s(SIZE) <= time.monotonic() - began < 8 * SIZE / RATE


async def test_frames_count_although_they_do_not_wait(limit: HostLimit) -> None:
    async with linked(limit=limit) as pair:
        for _ in range(50):
            assert await pair.left.request(Ping(), timeout_s=SOON_S) == Done()
        assert limit.send._owed[Priority.DEMAND] == 50 * 8
        assert limit.receive._owed[Priority.DEMAND] == 50 * 8


async def test_time_in_which_the_limit_kept_us_from_reading_is_nobodys_fault(limit: HostLimit) -> None:
    async with linked(Bodies(), limit=limit) as pair:
        into = bytearray(SIZE)
        reply = await pair.left.request(get(3), timeout_s=0.05, into=memoryview(into))
        assert reply == Piece(piece=3, length=SIZE, proof=None)
        assert bytes(into) == data_of(SIZE)


async def test_a_silent_source_is_given_up_in_time_under_a_limit_too(limit: HostLimit) -> None:
    async def silent(_: Link, message: Message) -> Answer | None:
        await trio.sleep_forever()
        return None

    async with linked(silent, limit=limit) as pair:
        began = time.monotonic()
        with pytest.raises(Unanswered, match="no answer to GetPiece"):
            await pair.left.request(get(), timeout_s=0.05, into=memoryview(bytearray(SIZE)))
        assert time.monotonic() - began < 5


async def test_a_body_given_up_while_it_waits_for_the_budget_leaves_the_connection_sound(limit: HostLimit) -> None:
    async with linked(Bodies(), limit=limit) as pair:
        with trio.move_on_after(0.05):
            await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(bytearray(SIZE)))
        into = bytearray(SIZE)
        await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(into))
        assert bytes(into) == data_of(SIZE)


async def test_a_limit_set_inside_a_body_counts_for_its_rest_and_a_lifted_one_lets_it_go(limit: HostLimit) -> None:
    set_rate(limit, 200_000)
    async with linked(Bodies(), limit=limit) as pair, trio.open_nursery() as nursery:
        into = bytearray(SIZE)
        began = time.monotonic()

        async def ask() -> None:
            await pair.left.request(get(), timeout_s=SOON_S, into=memoryview(into))

        nursery.start_soon(ask)
        await trio.sleep(0.3)
        set_rate(limit, RATE)
        await trio.sleep(0.05)
        set_rate(limit, 0)
    assert bytes(into) == data_of(SIZE)
    assert time.monotonic() - began < SIZE / 200_000 / 2


async def test_receive_buffers_hold_little_of_the_budget_and_grow_again_without_one(limit: HostLimit) -> None:
    def buffer_bytes() -> int:
        return pair.left._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    async with linked(Bodies(), limit=limit) as pair:
        into = memoryview(bytearray(SIZE))
        await pair.left.request(get(), timeout_s=SOON_S, into=into)
        assert buffer_bytes() <= max(RATE * BUFFER_US[1] // 1_000_000, LEAST_BUFFER_BYTES)
        locked = buffer_bytes()

        set_rate(limit, 0)
        for _ in range(20):
            await pair.left.request(get(), timeout_s=SOON_S, into=into)
        assert buffer_bytes() > locked, "the kernel sizes it again"


async def test_inside_a_long_body_the_kernel_tells_when_something_came_last() -> None:
    """Bytes below the low-water mark lie where the program does not see them: a slow sender is not a silent one."""
    body = data_of(SIZE)
    async with raw_peer() as peer, trio.open_nursery() as nursery:
        into = bytearray(SIZE)

        async def ask() -> None:
            await peer.link.request(get(), timeout_s=SOON_S, into=memoryview(into))

        nursery.start_soon(ask)
        asked = await peer.next()
        await peer.send(Piece(piece=0, length=SIZE, proof=None), asked.request_id, body[:1000])
        await until(lambda: peer.link._inside_body)
        frame_at = peer.link._heard_at
        await trio.sleep(0.3)
        await peer.stream.send_all(body[1000:2000])

        await until(lambda: peer.link.heard_at > frame_at + 0.2)
        assert peer.link._heard_at == frame_at, "the program took nothing meanwhile"
        await until(lambda: peer.link.heard_at < trio.current_time() - 0.1)  # silence is seen as well

        await peer.stream.send_all(body[2000:])
    assert bytes(into) == body
    assert peer.link._heard_at > frame_at + 0.3
    peer.link.close()
    assert peer.link.heard_at == peer.link._heard_at, "a closed socket is not asked"


# -- order ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "priority"),
    [
        (get(demand=True), Priority.DEMAND),
        (get(demand=True, background=True), Priority.DEMAND),
        (get(), Priority.PREFETCH),
        (get(background=True), Priority.BACKGROUND),
        (Ping(), Priority.DEMAND),
    ],
)
def test_how_urgent_an_answer_is(message: Message, priority: Priority) -> None:
    assert priority_of(message) is priority


async def test_what_somebody_waits_for_leaves_before_what_is_queued() -> None:
    """No limit is needed for that: a slow reader queues answers too."""
    async with raw_peer(Bodies(), dialled=False, small=True) as peer:
        for number in range(3):
            await peer.send(get(number, background=True), 2 * number + 1)
        await until(lambda: len(peer.link._sending._waiting) == 2)
        await peer.send(get(3), 7)
        await peer.send(get(4, demand=True), 9)
        await until(lambda: len(peer.link._sending._waiting) == 4)

        order = []
        for _ in range(5):
            envelope = await peer.next()
            assert isinstance(envelope.message, Piece)
            order.append(envelope.message.piece)
            left = SIZE - len(peer._decoder.take_rest(SIZE))
            while left:
                left -= len(await peer.stream.receive_some(left))
        assert order == [0, 4, 3, 1, 2]


def test_a_slow_reader_leaves_little_in_the_kernel_of_who_serves() -> None:
    """What lies there leaves before any demand; what waits in the program does not."""
    dialled, accepted = connected_sockets()
    with dialled, accepted:
        tune(accepted, serving=True)
        assert stuffed(accepted) > UNSENT_BYTES
        (unsent,) = struct.unpack("i", fcntl.ioctl(accepted.fileno(), _SIOCOUTQNSD, bytes(4)))
        assert unsent <= 2 * UNSENT_BYTES


async def test_what_lies_before_a_demand_on_its_connection_hurries_too(limit: HostLimit) -> None:
    """Else the rest of the budget goes to others, and the demand waits for what waits for them."""
    async with linked(Bodies(), limit=limit) as pair, trio.open_nursery() as nursery:
        assert pair.left._awaited() is Priority.BACKGROUND

        async def ask(message: GetPiece) -> None:
            await pair.left.request(message, timeout_s=SOON_S, into=memoryview(bytearray(SIZE)))

        nursery.start_soon(ask, get(background=True))
        nursery.start_soon(ask, get())
        await until(lambda: pair.left._awaited() is Priority.PREFETCH)
        nursery.start_soon(ask, get(demand=True))
        await until(lambda: pair.left._awaited() is Priority.DEMAND)
        nursery.cancel_scope.cancel()


async def test_an_answer_without_a_body_hurries_what_lies_before_it_too(limit: HostLimit) -> None:
    """Where others take the whole budget, what is behind a background body on its connection would not come for seconds."""
    answered = trio.Event()

    async def handle(link: Link, message: Message) -> Answer:
        if isinstance(message, Ping):
            await answered.wait()
            return Answer(Done())
        return await Bodies()(link, message)

    async with linked(handle, limit=limit) as pair, trio.open_nursery() as nursery:

        async def ask(message: Message, into: memoryview | None) -> None:
            await pair.left.request(message, timeout_s=SOON_S, into=into)

        nursery.start_soon(ask, get(background=True), memoryview(bytearray(SIZE)))
        nursery.start_soon(ask, Ping(), None)
        await until(lambda: pair.left._awaited() is Priority.DEMAND)
        answered.set()
        await until(lambda: pair.left._awaited() is Priority.BACKGROUND)
        nursery.cancel_scope.cancel()


async def test_a_demanded_piece_behind_bulk_on_one_connection_takes_two_piece_times(limit: HostLimit) -> None:
    """The one that is being sent, and its own; what is queued waits. Half a second is the machine's."""
    async with linked(Bodies(), limit=limit, right_limit=limit) as pair, trio.open_nursery() as nursery:

        async def bulk() -> None:
            while True:
                await pair.left.request(get(background=True), timeout_s=SOON_S, into=memoryview(bytearray(SIZE)))

        for _ in range(8):
            nursery.start_soon(bulk)
        await trio.sleep(1)
        began = time.monotonic()
        await pair.left.request(get(demand=True), timeout_s=SOON_S, into=memoryview(bytearray(SIZE)))
        took_s = time.monotonic() - began
        nursery.cancel_scope.cancel()
    assert took_s < 2 * SIZE / RATE + 0.5
