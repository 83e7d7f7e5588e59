"""A TCP proxy that is far away: every byte takes half a round trip, a new connection a whole one more. Shell.

``python -m tests.bench.slow_line PORT ROUND_TRIP_MS`` prints the port on which it listens; it ends when its input does. The
kernel's accept costs nothing here, so the time for a handshake is added to a connection's first bytes.
"""

import math
import sys
from functools import partial

import trio

_BUFFER_BYTES = 256 * 1024


async def _carry(source: trio.SocketStream, target: trio.SocketStream, *, delay_s: float, extra_s: float) -> None:
    """Brings bytes over in order, each ``delay_s`` after it came, the first ones ``extra_s`` later than that."""
    sending, receiving = trio.open_memory_channel[tuple[float, bytes]](math.inf)
    opened_s = trio.current_time()

    async def deliver() -> None:
        try:
            async for due_s, data in receiving:
                await trio.sleep_until(due_s)
                await target.send_all(data)
            await target.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await source.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        with sending:
            try:
                while data := bytes(await source.receive_some(_BUFFER_BYTES)):
                    await sending.send((max(trio.current_time(), opened_s + extra_s) + delay_s, data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


async def _serve(port: int, round_trip_s: float) -> None:
    async def answer(near: trio.SocketStream) -> None:
        async with near, await trio.open_tcp_stream("127.0.0.1", port) as far, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: _carry(near, far, delay_s=round_trip_s / 2, extra_s=round_trip_s))
            await _carry(far, near, delay_s=round_trip_s / 2, extra_s=0.0)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        print(listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_serve, int(sys.argv[1]), float(sys.argv[2]) / 1000)
