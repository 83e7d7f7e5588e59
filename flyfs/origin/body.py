"""The bytes of one answer, received into the caller's buffers. Shell.

Long bodies of known length on plain TCP are received by the kernel straight into the buffer, past the HTTP parser; such a
connection is closed afterwards. Measured with 1 GiB from nginx on loopback, medians of three: 0.17 CPU seconds instead of 2.4.
All others go through the parser, so that the connection of a small range can be used again. A body that ends early or late is
an error, never a short success.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import trio

from flyfs.core.errors import FlyfsError, Unavailable
from flyfs.core.grid import KIB, MIB
from flyfs.limit.turns import Urgency
from flyfs.origin.answers import OriginHead
from flyfs.origin.connection import OriginStream
from flyfs.origin.metered_stream import MeteredStream, demanded

LONG_BODY_BYTES = 4 * MIB
"""From here on a new connection costs less than the parser does."""
_WAKE_BYTES = 512 * KIB
"""How much should have arrived before the loop is woken: fewer wake-ups, the same throughput."""
_DRAIN_BYTES = 64 * KIB
"""A rest of at most this is read, so that its connection can be used again."""
_DRAIN_S = 1.0


class _ParsedSource:
    """A body through httpx and its parser."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self._rest = memoryview(b"")
        self._started = False
        self._ended = False

    async def receive_into(self, view: memoryview) -> int:
        """Fills some of ``view``; 0 only at the body's end."""
        while not self._rest and not self._ended:
            self._started = True
            try:
                self._rest = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                self._ended = True
            except BaseException:
                self._ended = True  # a generator that raised is over
                raise
        count = min(len(self._rest), len(view))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def end(self) -> None:
        """Ends a body that nobody reads on. The library's generators must run to their end, or trio complains about each."""
        if not self._started or self._ended:
            return
        with trio.CancelScope(shield=True) as scope, suppress(StopAsyncIteration, FlyfsError):
            scope.cancel()  # so the next wait for the network raises, through all of them
            while True:
                await anext(self._chunks)


class _SocketSource:
    """A body of known length straight from its socket."""

    def __init__(self, first: bytes, stream: MeteredStream, length: int, *, stall_s: float, place: str) -> None:
        self._first = memoryview(first)
        self._stream = stream
        self._fd = stream.socket.fileno()
        self._left = length
        self._stall_s = stall_s
        self._place = place
        self._wake_bytes = 0

    async def receive_into(self, view: memoryview) -> int:
        """Fills ``view`` (as far as the body goes); 0 where the connection ends before the body does."""
        view = view[: min(len(view), self._left)]
        filled = min(len(self._first), len(view))
        view[:filled] = self._first[:filled]
        self._first = self._first[filled:]
        intake = self._stream.intake
        waited = stalled = dry = False
        while filled < len(view):
            limited = intake.limited()
            if dry or limited:
                stalled = not await self._wait(len(view) - filled, intake.slice_bytes if limited else _WAKE_BYTES)
                waited = True
            permit = None
            try:
                permit = await intake.permit(len(view) - filled) if limited else None
                stop = len(view) if permit is None else filled + permit.count
                count = os.readv(self._fd, [view[filled:stop]])
            except BlockingIOError as error:
                if permit is not None:
                    intake.took(permit, 0)
                if stalled:
                    raise Unavailable(f"{self._place}: the origin is too slow: not a byte for {self._stall_s:.0f} s") from error
                dry = True
                continue
            except OSError as error:
                raise Unavailable(f"{self._place}: the connection broke ({error.strerror})") from error
            if permit is not None:
                intake.took(permit, count)
            if not count:
                break
            filled += count
            dry = stalled = False
        if not waited:
            await trio.lowlevel.checkpoint()  # an origin that is always ahead must not keep the loop
        self._left -= filled
        return filled

    async def _wait(self, missing: int, at_once: int) -> bool:
        """Waits for ``missing`` bytes, for ``at_once`` of them or for the end; False where none came within the stall time.

        Less than the awaited amount may have come by then, which is no stall: the caller looks.
        """
        wake_bytes = min(missing, at_once)  # the kernel lowers it to what its buffer can hold
        if wake_bytes != self._wake_bytes:
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wake_bytes)
            self._wake_bytes = wake_bytes
        with trio.move_on_after(self._stall_s):
            await trio.lowlevel.wait_readable(self._fd)
            return True
        return False

    async def end(self) -> None:
        """Nothing to do: the connection is closed with its response."""


class OriginBody:
    """A body on its way; valid inside the ``async with`` that gave it."""

    def __init__(self, head: OriginHead, response: httpx.Response, *, stall_s: float, place: str) -> None:
        self.head = head
        self._response = response
        self._place = place
        self._received = 0
        self._complete = False
        stream = response.extensions["network_stream"]
        assert isinstance(stream, OriginStream)  # the pool's connections are ours
        self._stream = stream
        self._source = _source_of(head, response, stream, stall_s=stall_s, place=place)

    @property
    def sequential(self) -> bool:
        """A part was asked for, but the origin ignores Range: this is the whole file from its start."""
        return self.head.ranges_ignored

    async def receive_into(self, buffer: memoryview, urgency: Urgency = demanded) -> int:
        """Fills the whole of ``buffer`` unless the body ends earlier; the bytes filled, 0 at the end.

        ``urgency`` is asked while the host's limit makes it wait.

        Raises:
            Unavailable: the connection breaks or stalls, or the body ends before or after its announced end. What was filled
                by then must not be used.
        """
        filled = 0
        length = self.head.length
        self._stream.body_is(urgency)
        while filled < len(buffer) and not self._complete:
            stop = len(buffer) if length is None else min(len(buffer), filled + length - self._received)
            count = await self._source.receive_into(buffer[filled:stop]) if stop > filled else 0
            filled += count
            self._received += count
            if length is not None and self._received == length:
                await self._check_end()
                self._complete = True
            elif not count:
                if length is not None:
                    raise Unavailable(f"{self._place}: the body ends early, at {self._received} of {length} bytes")
                self._complete = True
        return filled

    async def _check_end(self) -> None:
        if isinstance(self._source, _ParsedSource) and await self._source.receive_into(memoryview(bytearray(1))):
            raise Unavailable(f"{self._place}: the body goes on beyond its {self.head.length} bytes")

    async def aclose(self) -> None:
        """Frees the connection: for the next request where little is left of the body, else closes it. Never raises an error."""
        left = None if self.head.length is None else self.head.length - self._received
        drainable = isinstance(self._source, _ParsedSource) and not self._complete and left is not None and left <= _DRAIN_BYTES
        try:
            if drainable and left is not None:
                with trio.move_on_after(_DRAIN_S), suppress(FlyfsError):
                    await self.receive_into(memoryview(bytearray(left + 1)))
        finally:
            with trio.CancelScope(shield=True), suppress(FlyfsError):  # closing waits for nobody
                await self._source.end()
                await self._response.aclose()


def _source_of(
    head: OriginHead, response: httpx.Response, stream: OriginStream, *, stall_s: float, place: str
) -> _ParsedSource | _SocketSource:
    if head.length is not None and "content-length" in response.headers and "transfer-encoding" not in response.headers:
        taken = stream.take_body() if head.length >= LONG_BODY_BYTES else None
        if taken is not None:
            first, rest = taken
            return _SocketSource(first, rest, head.length, stall_s=stall_s, place=place)
        stream.announce_body(head.length)
    return _ParsedSource(response)
