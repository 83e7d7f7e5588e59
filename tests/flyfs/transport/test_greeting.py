import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from flyfs.core.address import Address
from flyfs.core.errors import Corrupt, Denied, FlyfsError, NotFound, RemoteProtocolError, Unavailable
from flyfs.transport.greeting import GREETING_TIMEOUT_S, Greeted, bound_address, dial, listen, serve
from flyfs.transport.link import Link
from flyfs.wire.codec import FrameDecoder, encode
from flyfs.wire.messages import Done, Failed, Hello, Message, Ping, Welcome
from tests.flyfs.transport.pairs import nothing, until
from tests.support.builders import a_hello, a_peer_id, a_welcome

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def clock() -> MockClock:
    """Time passes at once when all wait; sockets on loopback get their moment of real time first."""
    return MockClock(autojump_threshold=0.05)


@dataclass
class Served:
    address: Address
    greeted: list[Greeted] = field(default_factory=list)
    ended: int = 0


@asynccontextmanager
async def serving(
    welcome: Callable[[Hello], Welcome] = lambda _: a_welcome(),
    error: FlyfsError | None = None,
    before: Callable[[Address], None] = lambda _: None,
) -> AsyncIterator[Served]:
    with listen(LOOPBACK) as listener:
        served = Served(bound_address(listener))
        before(served.address)

        async def session(greeted: Greeted) -> None:
            served.greeted.append(greeted)
            if error is not None:
                raise error
            try:
                await greeted.link.run(nothing)
            finally:
                served.ended += 1

        async with trio.open_nursery() as nursery:
            await nursery.start(serve, listener, welcome, session)
            yield served
            nursery.cancel_scope.cancel()


async def raw(address: Address) -> trio.SocketStream:
    return await trio.open_tcp_stream(address.host, address.port)


async def said(stream: trio.SocketStream) -> list[Message]:
    """All messages until the other side closes."""
    decoder, messages = FrameDecoder(), []
    try:
        async for data in stream:
            decoder.feed(data)
    except trio.BrokenResourceError:
        pass
    while (envelope := decoder.next_message()) is not None:
        messages.append(envelope.message)
    return messages


async def greets_well(address: Address) -> None:
    async with dial(address, a_hello()) as dialled, trio.open_nursery() as nursery:
        nursery.start_soon(dialled.link.run, nothing)
        assert await dialled.link.request(Ping(), timeout_s=5) == Done()
        nursery.cancel_scope.cancel()


async def test_both_learn_who_the_other_is() -> None:
    async with serving() as served:
        async with dial(served.address, a_hello(address=":7402")) as dialled:
            assert dialled.welcome == a_welcome()
            assert dialled.link.name == str(served.address)
            await until(lambda: len(served.greeted) == 1)
            (greeted,) = served.greeted
            assert (greeted.hello, greeted.host) == (a_hello(address=":7402"), "127.0.0.1")
            assert greeted.link.name == f"peer {a_peer_id()[:8]} at 127.0.0.1"
        assert dialled.link.closed
        await until(lambda: served.ended == 1)
        await greets_well(served.address)


async def test_requests_may_follow_the_hello_at_once() -> None:
    async with serving() as served, await raw(served.address) as stream:
        await stream.send_all(encode(a_hello()) + encode(Ping(), 1))
        decoder, messages = FrameDecoder(), []
        while len(messages) < 2:
            decoder.feed(await stream.receive_some())
            while (envelope := decoder.next_message()) is not None:
                messages.append(envelope.message)
        assert messages == [a_welcome(), Done()]


async def test_another_major_version_is_refused_by_name() -> None:
    async with serving() as served:
        with pytest.raises(Denied, match=r"this side speaks protocol 1, not 2; upgrade one of us"):
            async with dial(served.address, a_hello(major=2)):
                pytest.fail("greeted")
        assert not served.greeted
        await greets_well(served.address)


async def test_a_welcome_of_another_major_version_is_refused() -> None:
    async with serving(lambda _: a_welcome(major=2)) as served:
        with pytest.raises(RemoteProtocolError, match="speaks protocol 2, this program speaks 1"):
            async with dial(served.address, a_hello()):
                pytest.fail("greeted")


@pytest.mark.parametrize("error", [Denied("wrong token"), Corrupt("what?"), Unavailable("too many peers", retry_after_s=3.0)])
async def test_whoever_is_refused_learns_why(error: FlyfsError) -> None:
    def refuse(_: Hello) -> Welcome:
        raise error

    async with serving(refuse) as served:
        with pytest.raises(FlyfsError, match=error.message) as refused:
            async with dial(served.address, a_hello()):
                pytest.fail("greeted")
        assert type(refused.value) is (Unavailable if isinstance(error, Unavailable) else Denied)
        assert getattr(refused.value, "retry_after_s", None) == getattr(error, "retry_after_s", None)
        assert not served.greeted


async def test_who_says_nothing_is_cut_off_within_the_deadline(clock: MockClock) -> None:
    async with serving() as served, await raw(served.address) as stream:
        since = trio.current_time()
        assert await said(stream) == []
        assert trio.current_time() - since == pytest.approx(GREETING_TIMEOUT_S, abs=0.5)


async def test_who_says_half_a_hello_is_cut_off_too(clock: MockClock) -> None:
    async with serving() as served, await raw(served.address) as stream:
        await stream.send_all(encode(a_hello())[:-1])
        assert await said(stream) == []
        await greets_well(served.address)


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"SSH-2.0-OpenSSH_9.9\r\n",
    bytes(100),
    encode(Ping(), 1),
    encode(Failed(kind="denied", message="you first")),
    encode(a_welcome()),
    b"\0\0\0\x10\x93\x01\0\x97\1\0\xa1x\xa4peer\xa10\xa0\xa0",  # a Hello whose peer id is none
    b"",
])  # fmt: skip
async def test_what_is_no_greeting_is_cut_off_and_the_next_one_is_served(data: bytes) -> None:
    async with serving() as served:
        async with await raw(served.address) as stream:
            if data:
                await stream.send_all(data)
            await stream.send_eof()
            assert await said(stream) == []
        await greets_well(served.address)
        assert len(served.greeted) == 1


async def test_a_connection_that_was_reset_before_it_was_accepted_harms_nobody() -> None:
    def knock(address: Address) -> None:
        with socket.create_connection((address.host, address.port)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with serving(before=knock) as served:
        await greets_well(served.address)


@pytest.mark.parametrize("error", [NotFound("gone"), RemoteProtocolError("what?"), Unavailable("later")])
async def test_a_session_that_fails_ends_its_connection_only(error: FlyfsError) -> None:
    async with serving(error=error) as served:
        async with await raw(served.address) as stream:
            await stream.send_all(encode(a_hello()))
            assert await said(stream) == [a_welcome()]
        async with dial(served.address, a_hello()):
            pass


async def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = bound_address(gone)
    with pytest.raises(Unavailable, match=f"{address}: cannot connect"):
        async with dial(address, a_hello()):
            pytest.fail("greeted")


async def test_somebody_who_does_not_answer_is_unavailable_within_the_deadline(clock: MockClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        since = trio.current_time()
        with pytest.raises(Unavailable, match="no greeting"):
            async with dial(bound_address(silent), a_hello()):
                pytest.fail("greeted")
        assert trio.current_time() - since == pytest.approx(GREETING_TIMEOUT_S, abs=0.5)


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[Address]:
    """A server that says ``data`` to whoever comes, and closes."""

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        yield Address("127.0.0.1", listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("data", "kind", "message"), [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", RemoteProtocolError, "a frame of"),
    (encode(Done()), RemoteProtocolError, "not a greeting"),
    (encode(a_hello()), RemoteProtocolError, "not a greeting"),
    (b"", Unavailable, "closed the connection instead of a greeting"),
    (encode(a_welcome())[:-1], Unavailable, "closed the connection instead of a greeting"),
    (encode(Failed(kind="denied", message="no token")), Denied, "no token"),
    (encode(Failed(kind="of a later version", message="no")), Denied, "no"),
])  # fmt: skip
async def test_what_is_no_welcome_is_refused(data: bytes, kind: type[FlyfsError], message: str) -> None:
    async with answering(data) as address:
        with pytest.raises(kind, match=message):
            async with dial(address, a_hello()):
                pytest.fail("greeted")


async def test_a_caller_that_fails_closes_the_connection() -> None:
    links: list[Link] = []

    async def fail(address: Address) -> None:
        async with dial(address, a_hello()) as dialled:
            links.append(dialled.link)
            raise NotFound("of the caller")

    async with serving() as served:
        with pytest.raises(NotFound):
            await fail(served.address)
        assert links[0].closed
        await until(lambda: served.ended == 1)


async def test_dialling_may_be_cancelled_at_any_moment() -> None:
    finished = 0
    async with serving() as served:
        for turns in range(40):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel(scope: trio.CancelScope = scope, turns: int = turns) -> None:
                        for _ in range(turns):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel)
                    async with dial(served.address, a_hello()):
                        finished += 1
        await greets_well(served.address)
        await until(lambda: served.ended == len(served.greeted))
    assert finished


def test_a_port_that_is_taken_is_an_os_error_and_leaves_nothing_open() -> None:
    with listen(LOOPBACK) as first, pytest.raises(OSError, match="in use"):
        listen(bound_address(first))


def test_where_a_socket_listens() -> None:
    with listen(Address("::1", 0)) as listener:
        address = bound_address(listener)
        assert (address.host, address.port > 0) == ("::1", True)
