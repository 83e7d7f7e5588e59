"""One connection between two programs: requests and events both ways, pipelined; piece bodies in between. Shell.

Replies come in any order. A request that is given up (cancelled) leaves the connection sound: its late body goes to a scrap
buffer. One task receives, any task may send; a frame and its body leave together. What a blocked reader waits for leaves first,
and whatever lies before it on the same connection hurries along with it.
"""

import itertools
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import structlog
import trio

from flyfs.core.errors import (
    WIRE_ERRORS,
    FlyfsError,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    Unanswered,
    Unavailable,
    error_from_wire,
)
from flyfs.core.grid import KIB
from flyfs.limit.bucket import Priority
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.limit.intake import Intake
from flyfs.limit.turns import Turns, Urgency
from flyfs.transport.bulk import receive_body, receive_some, send_all, send_body, send_file, send_some, silent_s
from flyfs.wire.codec import Envelope, FrameDecoder, body_length, encode
from flyfs.wire.messages import Failed, GetPiece, Message
from flyfs.wire.schema import MAX_TEXT

MAX_INCOMING = 256
"""Requests of one connection that may be in work at once; more wait in the socket."""

_SCRATCH_BYTES = 16 * KIB  # enough for most frames; the start of a body that lands here is copied twice

LOST = (OSError, trio.ClosedResourceError)
"""How a lost connection shows: it broke, or another task of ours closed it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileRange:
    """A body that lies in a file."""

    fileno: int
    start: int
    stop: int


Body: TypeAlias = FileRange | memoryview | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns for a request: a message, with its body where it is a ``Piece``."""

    message: Message
    body: Body = None
    after: Callable[[bool], None] | None = None
    """Called once the answer is through (True), or could not be sent (False): the body's memory is free then."""


Handler: TypeAlias = Callable[["Link", Message], Awaitable[Answer | None]]
"""Serves one incoming request (returns its answer) or event (returns None)."""


_INTERNAL = Failed(kind=Unavailable.kind, message="internal error; see the log of the other side")


class _Pending:
    """A request on its way. ``into`` becomes None once nobody waits any more: the memory may belong to somebody else then."""

    __slots__ = ("awaited", "done", "into", "length", "reply", "sent", "urgency")

    def __init__(self, into: memoryview | None, urgency: Urgency) -> None:
        self.into = into
        self.urgency = urgency
        self.length = 0 if into is None else len(into)
        self.sent = False
        self.awaited = True
        self.reply: Message | None = None
        self.done = trio.Event()


class Link:
    """A connection; ``run`` must be running for requests to be answered."""

    def __init__(self, sock: socket.socket, name: str, *, dialled: bool, limit: HostLimit = UNLIMITED) -> None:
        """``sock`` is connected and tuned (``bulk.tune``); ``name`` is for people; who dialled numbers its requests oddly."""
        self.name = name
        self._heard_at = trio.current_time()
        self._inside_body = False
        self._parity = 1 if dialled else 0
        self._sock = sock
        self._decoder = FrameDecoder()
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._ids = itertools.count(2 - self._parity, 2)
        self._pending: dict[int, _Pending] = {}
        self._limit = limit
        self._intake = Intake(sock, limit.receive, self._awaited)
        self._sending = Turns()
        self._lost: str | None = None

    @property
    def closed(self) -> bool:
        """Whether the connection is over."""
        return self._lost is not None

    @property
    def heard_at(self) -> float:
        """When something last came from the other side; inside a long body, which is taken in few steps, the kernel tells."""
        if self._inside_body and self._lost is None:
            return max(self._heard_at, trio.current_time() - silent_s(self._sock))
        return self._heard_at

    def close(self, reason: str = "closed") -> None:
        """Ends the connection; everybody who waits on it gets ``Unanswered``."""
        if self._lost is not None:
            return
        self._lost = reason
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        for pending in self._pending.values():
            pending.done.set()
        self._pending.clear()

    async def run(self, handle: Handler) -> None:
        """Receives until the connection ends, serving what comes in with ``handle``; a lost connection ends it quietly.

        Raises:
            RemoteProtocolError: the other side broke the protocol (the connection is closed).
        """
        guilty: ProtocolError | None = None
        slots = trio.Semaphore(MAX_INCOMING)
        try:
            async with trio.open_nursery() as nursery:
                try:
                    while (envelope := await self.receive()) is not None:
                        if not self._settle(envelope):
                            # A checkpoint: each handler runs up to its first await before the next one begins, so that what a
                            # handler does at once happens in the order of the messages.
                            await slots.acquire()
                            nursery.start_soon(self._serve, handle, envelope, slots)
                    self.close("the other side closed the connection")
                except LOST as error:
                    self.close(str(error))
                except ProtocolError as error:
                    guilty = error
                    self.close("protocol violated")
                nursery.cancel_scope.cancel()
        finally:
            self.close()
        if guilty is not None:
            raise guilty

    async def send(
        self, message: Message, request_id: int = 0, body: Body = None, *, priority: Priority = Priority.DEMAND
    ) -> None:
        """Sends one message (an event, unless it answers ``request_id``) and its body, the most urgent first.

        Raises:
            Unanswered: the connection is lost.
            LocalProtocolError: the message cannot be sent (nothing was).
        Cancellation: before the first byte it costs nothing; later it costs the connection, half a frame cannot be taken back.
        """
        frame, length = encode(message, request_id), _length(body)
        if body_length(message) != length:
            raise LocalProtocolError(f"a {type(message).__name__} with a body of {length} bytes")
        begun = False

        def urgency() -> Priority:  # of this message, and of what has to wait for it
            waiting = self._sending.urgency()
            return priority if waiting is None else min(priority, waiting)

        with self._sending.enter(lambda: priority) as place:
            await place.turn()
            if self._lost is not None:
                raise self._gone()
            try:
                sent = await send_some(self._sock, frame, more=length > 0)
                begun = True
                await send_all(self._sock, memoryview(frame)[sent:], more=length > 0)
                budget = self._limit.send
                budget.charge(len(frame))
                match body:
                    case FileRange(fileno, start, stop):
                        await send_file(self._sock, fileno, start, stop, budget=budget, urgency=urgency)
                    case memoryview():
                        await send_body(self._sock, body, budget=budget, urgency=urgency)
                    case None:
                        pass
            except LOST as error:
                self.close(str(error))
                raise Unanswered(f"{self.name}: {error}") from error
            except BaseException:  # most likely Cancelled
                if begun:
                    self.close("a message was cut short")
                raise

    async def request(
        self,
        message: Message,
        *,
        timeout_s: float,
        into: memoryview | None = None,
        urgency: Urgency | None = None,
    ) -> Message:
        """Sends a request and waits for its reply; a ``Piece``'s bytes land in ``into``, which is exactly as long.

        Time in which the host's limit kept us from reading is nobody's fault, and does not count.

        Args:
            message: what to ask.
            timeout_s: how long the other side may take.
            into: where the bytes go.
            urgency: tells how urgent the reply is by now, where that may change.

        Raises:
            Unanswered: no reply within ``timeout_s``, or the connection is lost.
            FlyfsError: what the other side said in ``Failed``.
        """
        if self._lost is not None:
            raise self._gone()
        priority = priority_of(message)
        pending = _Pending(into, urgency if urgency is not None else lambda: priority)
        request_id = next(self._ids)
        self._pending[request_id] = pending
        try:
            held_s = self._intake.held_s()
            with trio.move_on_after(timeout_s) as scope:
                await self.send(message, request_id)
                pending.sent = True
                await pending.done.wait()
            while scope.cancelled_caught and pending.sent and (more_s := self._intake.held_s() - held_s) > 0:
                held_s += more_s
                with trio.move_on_after(more_s) as scope:
                    await pending.done.wait()
        finally:
            pending.into, pending.awaited = None, False
            if not pending.sent:  # else the receiver still awaits a late reply, and forgets the request then
                self._pending.pop(request_id, None)
        if isinstance(pending.reply, Failed):
            raise error_from_wire(pending.reply.kind, pending.reply.message, pending.reply.retry_after_s)
        if pending.reply is not None:
            return pending.reply
        if self._lost is not None:
            raise self._gone()
        raise Unanswered(f"{self.name}: no answer to {type(message).__name__} within {timeout_s:.1f} s")

    def _gone(self) -> Unanswered:
        return Unanswered(f"{self.name}: {self._lost}")

    async def receive(self) -> Envelope | None:
        """The next message, its body received where it belongs; None at the end. Raises RemoteProtocolError, or one of LOST."""
        while (envelope := self._decoder.next_message()) is None:
            count = await receive_some(self._sock, self._scratch)
            self._heard_at = trio.current_time()
            if not count:
                return None
            self._intake.came(count)
            self._decoder.feed(self._scratch[:count])
        if length := body_length(envelope.message):
            await self._receive_body(envelope.request_id, length)
        return envelope

    async def _receive_body(self, request_id: int, length: int) -> None:
        pending = self._pending.get(request_id)
        if pending is None or pending.length != length:
            raise RemoteProtocolError(f"{self.name}: {length} bytes that nobody asked for")
        early = self._decoder.take_rest(length)
        if pending.into is not None:
            pending.into[: len(early)] = early
        self._inside_body = True
        await receive_body(self._sock, pending, len(early), length, self._intake)
        self._inside_body = False
        self._heard_at = trio.current_time()

    def _awaited(self) -> Priority:
        """The most urgent of all that has to come over this connection."""
        wanted = (pending.urgency() for pending in self._pending.values() if pending.awaited)
        return min(wanted, default=Priority.BACKGROUND)

    def _settle(self, envelope: Envelope) -> bool:
        """Whether this is a reply to a request of ours (perhaps one that was forgotten)."""
        if not envelope.request_id or envelope.request_id % 2 != self._parity:
            return False
        pending = self._pending.pop(envelope.request_id, None)
        if pending is not None:
            pending.reply = envelope.message
            pending.done.set()
        return True

    async def _serve(self, handle: Handler, envelope: Envelope, slots: trio.Semaphore) -> None:
        answer: Answer | None = None
        through = False
        try:
            answer = await self._answer(handle, envelope)
            if answer is not None and envelope.request_id:
                try:
                    await self.send(answer.message, envelope.request_id, answer.body, priority=priority_of(envelope.message))
                    through = True
                except LocalProtocolError:
                    log.exception("transport.answer.unfit", link=self.name, message=type(answer.message).__name__)
                    await self.send(_INTERNAL, envelope.request_id)
        except Unanswered:
            pass  # the connection is lost; its receiver sees that too
        finally:
            slots.release()
            if answer is not None and answer.after is not None:
                answer.after(through)

    async def _answer(self, handle: Handler, envelope: Envelope) -> Answer | None:
        try:
            return await handle(self, envelope.message)
        except FlyfsError as error:
            kind = error.kind if error.kind in WIRE_ERRORS else Unavailable.kind
            retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
            return Answer(Failed(kind=kind, message=error.message[:MAX_TEXT], retry_after_s=retry_after_s))
        except Exception:
            log.exception("transport.request.failed", link=self.name, message=type(envelope.message).__name__)
            return Answer(_INTERNAL)


def priority_of(request: Message) -> Priority:
    """How urgent the answer to a request is; everything but pieces is small, and somebody waits for it."""
    match request:
        case GetPiece(demand=False, background=background):
            return Priority.BACKGROUND if background else Priority.PREFETCH
        case _:
            return Priority.DEMAND


def _length(body: Body) -> int:
    match body:
        case FileRange(_, start, stop):
            return stop - start
        case memoryview():
            return body.nbytes
        case None:
            return 0
