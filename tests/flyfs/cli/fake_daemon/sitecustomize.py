"""Stands in for the daemon in processes that the tests start: PYTHONPATH leads here, and FAKE_DAEMON says what it does.

What the commands do around a daemon is under test, not the daemon; control sockets and signals are real.
"""

# ruff: noqa: PLC0415 - every interpreter that the tests start imports this file

import os
import sys
import types


def run_mount(config, ready):  # type: ignore[no-untyped-def]
    import time

    from flyfs.core.errors import ConfigError, Unavailable

    match os.environ.get("FAKE_DAEMON"):
        case "refuse":
            raise ConfigError(f"{config.cache_directory} is used by the daemon 4711; choose another place with --cache")
        case "group":
            raise ExceptionGroup("nursery", [Unavailable("the embedded supernode did not start")])
        case "crash":
            raise ZeroDivisionError("a bug")
        case "die":
            os.write(2, b"a fatal word\n")
            os._exit(3)
        case "hang":
            os.write(2, b"begun\n")
            time.sleep(60)
        case "deaf":
            import socket

            with socket.socket(socket.AF_UNIX) as listener:
                config.runtime_directory.mkdir(exist_ok=True)
                listener.bind(str(config.control_socket))
                listener.listen()
                ready()
                time.sleep(60)
        case "interrupted":
            raise BaseExceptionGroup("nursery", [KeyboardInterrupt()])
        case _:
            serve(config, ready)


def serve(config, ready):  # type: ignore[no-untyped-def]
    import signal
    from contextlib import AsyncExitStack

    import structlog
    import trio

    from flyfs.control.cache import answer_cache
    from flyfs.control.seen_path import seen_path
    from flyfs.control.server import ControlServer
    from flyfs.core.errors import NotFound
    from flyfs.store.store import Store

    async def run() -> None:
        class Handlers:
            def status(self):  # type: ignore[no-untyped-def]
                return status_document(config)

            def path_of(self, url):  # type: ignore[no-untyped-def]
                return os.path.join(os.environ.get("FAKE_MOUNT", config.mountpoint), seen_path(url))

            def stop(self) -> None:
                nursery.cancel_scope.cancel()

            async def warm(self, url, tell, *, supernode_only):  # type: ignore[no-untyped-def]
                note_warmed(os.path.basename(config.mountpoint), url, supernode_only)
                if url.segments[-1] == "missing":
                    raise NotFound(f"{url}: the origin has no such file")
                await tell({"held_bytes": 4, "size_bytes": 10})
                if url.segments[-1] == "endless":
                    await trio.sleep_forever()
                await tell({"held_bytes": 10, "size_bytes": 10})

            async def cache(self, request, tell):  # type: ignore[no-untyped-def]
                return await answer_cache(store, request, tell)

        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            if os.environ.get("FAKE_DAEMON") == "with a store":
                opened = Store.open(config.cache_directory, limit_bytes=config.cache_limit_bytes, owner="a fake mount")
                store = await stack.enter_async_context(opened)
            await nursery.start(ControlServer(config.control_socket, Handlers()).run)
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                structlog.get_logger("flyfs.fake").info("fake.mount.ready", cwd=os.getcwd(), session=os.getsid(0) == os.getpid())
                ready()
                async for _ in signals:
                    nursery.cancel_scope.cancel()

    trio.run(run)


def status_document(config):  # type: ignore[no-untyped-def]
    from flyfs.telemetry.counters import Counters
    from flyfs.telemetry.latency import Quantiles
    from flyfs.telemetry.status import Advertised, IsolatedPeer, LimitFigures, ProcessFigures, SupernodeFigures, assemble_status

    class Store:
        used_bytes, limit_bytes, free_bytes, blobs, read_through, damaged = 2048, 4096, 2**30, 1, True, 2

    counters = Counters()
    counters.origin_bytes, counters.peer_bytes = 1024, 3 * 2**20
    return assemble_status(
        process=ProcessFigures(
            version="0.1.0",
            role="peer",
            peer_id="ab",
            mountpoint=config.mountpoint,
            cache_directory=str(config.cache_directory),
            started_at_s=0,
            pid=os.getpid(),
        ),
        counters=counters.statistics(),
        known_peers=2,
        isolated_peers=[IsolatedPeer(peer_id="cd", address="10.0.0.9:7402", reason="corrupt pieces", since_s=0, until_s=60)],
        unreachable_peers=[],
        advertised=Advertised(address="10.0.0.5:7402", reachable=False, reason="timed out"),
        supernodes=[SupernodeFigures(address="127.0.0.1:7400", state="down", reason="refused")],
        store=Store(),
        limit=LimitFigures(receive=12_500_000),
        demand_latency=Quantiles(1, 2),
        loop_lag=Quantiles(0, 0.5),
        open_files=3,
    )


def fetch(config, url, sink):  # type: ignore[no-untyped-def]
    import time

    from flyfs.core.errors import NotFound, Unavailable

    match os.environ.get("FAKE_DAEMON"):
        case "missing":
            raise NotFound(f"{url}: the origin has no such file")
        case "breaks":
            sink.begin(10)
            sink.write(b"half")
            raise ExceptionGroup("nursery", [Unavailable("the origin closed early")])
        case "hang":
            sink.begin(10)
            sink.write(b"half")
            os.write(2, b"begun\n")
            time.sleep(60)
        case _:
            sink.begin(None)
            sink.write(b"fetched ")
            sink.write(memoryview(b"alone"))


def note_warmed(who, url, supernode_only):  # type: ignore[no-untyped-def]
    """For tests: who was asked for what."""
    directory = os.environ["FLYFS_RUNTIME_DIR"]
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "warmed"), "a") as warmed:
        warmed.write(f"{who} {url.segments[-1]} {supernode_only}\n")


def warm_alone(config, reported):  # type: ignore[no-untyped-def]
    import time

    from flyfs.core.errors import NotFound, Unavailable

    if os.environ.get("FAKE_DAEMON") == "breaks":
        raise Unavailable("the embedded supernode did not start")
    for url in config.urls:
        with reported(url):
            note_warmed("alone", url, config.supernode_only)
            if url.segments[-1] == "missing":
                raise NotFound(f"{url}: the origin has no such file")
            if url.segments[-1] == "endless":
                time.sleep(60)


def run_supernode(config):  # type: ignore[no-untyped-def]
    from flyfs.core.errors import ConfigError

    match os.environ.get("FAKE_DAEMON"):
        case "refuse":
            raise ExceptionGroup("nursery", [ConfigError("--listen: 127.0.0.1:7400 is taken")])
        case "interrupted":
            raise KeyboardInterrupt
        case "crash":
            raise ZeroDivisionError("a bug")
        case _:
            print(f"ready peers={config.listen} http={config.http}")


for name, functions in (
    ("flyfs.daemon.mounting", {"run_mount": run_mount}),
    ("flyfs.daemon.fetching", {"fetch": fetch}),
    ("flyfs.daemon.warming", {"warm_alone": warm_alone}),
    ("supernode.daemon", {"run": run_supernode}),
):
    module = types.ModuleType(name)
    vars(module).update(functions)
    sys.modules[name] = module
