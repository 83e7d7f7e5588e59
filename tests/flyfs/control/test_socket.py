"""The socket for real: the server on a trio loop, the client in threads."""

import itertools
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from flyfs.control import client, server
from flyfs.control.client import ControlClient, daemon_pid, find_daemon, find_daemons
from flyfs.control.messages import CacheCollect, CacheList, CacheRemove, CacheRequest, CacheVerify, Tell
from flyfs.control.seen_path import seen_path
from flyfs.control.server import ControlServer
from flyfs.core.errors import ConfigError, Denied, NotFound, RemoteProtocolError, Unavailable
from flyfs.core.urls import RemoteUrl, parse_url

T = TypeVar("T")


class Handlers:
    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        self.document = {"mountpoint": "/mnt/fly"} if document is None else document
        self.stopped = 0
        self.asked: list[object] = []

    def status(self) -> Mapping[str, object]:
        return self.document

    def path_of(self, url: RemoteUrl) -> str:
        return "/mnt/fly/" + seen_path(url)

    def stop(self) -> None:
        self.stopped += 1

    async def warm(self, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
        self.asked.append((str(url), supernode_only))
        if url.segments[-1] == "missing":
            raise NotFound("the origin has no such file")
        try:
            for held in itertools.count() if url.segments[-1] == "endless" else (2, 5):
                await tell({"held_bytes": held, "size_bytes": 5} if url.segments[-1] != "odd" else {"bytes": held})
        finally:
            self.asked.append("ended")

    async def cache(self, request: CacheRequest, tell: Tell) -> object:
        self.asked.append(request)
        if isinstance(request, CacheCollect):
            raise Unavailable("the disk is full")
        try:
            for number in range(3) if isinstance(request, CacheList) else itertools.count():
                await tell({"row": number, "text": "x" * 100_000})
        finally:
            self.asked.append("ended")
        return "done"


@asynccontextmanager
async def served(path: Path, handlers: Handlers) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(ControlServer(path, handlers).run)
        yield
        nursery.cancel_scope.cancel()


async def in_thread(call: Callable[..., T], *arguments: Any) -> T:
    with trio.fail_after(10):
        return await trio.to_thread.run_sync(lambda: call(*arguments))


async def found(directory: Path) -> ControlClient:
    daemon = await in_thread(find_daemon, [directory], "mnt")
    assert daemon is not None
    return daemon


async def test_a_daemon_answers_the_commands_of_its_host(runtime_directory: Path) -> None:
    handlers = Handlers({"mountpoint": "/mnt/fly", "peers": {"isolated": ["x" * 100] * 20_000}})
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)

        assert daemon.pid == os.getpid()
        assert await in_thread(daemon.status) == handlers.document
        assert await in_thread(daemon.path_of, parse_url("http://h/a/b")) == "/mnt/fly/http/h/a%2Fb"
        await in_thread(daemon.stop)
        assert handlers.stopped == 1
    assert list(runtime_directory.iterdir()) == []


async def test_only_owner_and_group_may_ask(runtime_directory: Path) -> None:
    path = runtime_directory / "deep" / "mnt.sock"
    async with served(path, Handlers()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


async def test_a_refusal_reaches_the_client(runtime_directory: Path) -> None:
    async with served(runtime_directory / "mnt.sock", Handlers()):
        daemon = await found(runtime_directory)

        with pytest.raises(NotFound, match="too long for a path"):
            await in_thread(daemon.path_of, parse_url("http://h/" + "x" * 300))


async def test_another_user_of_the_group_may_not_end_a_mount(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_user", lambda connection: 4711)
    handlers = Handlers()
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)

        with pytest.raises(Denied, match="only root and the user who mounted it may end a mount"):
            await in_thread(daemon.stop)
        assert await in_thread(daemon.status) == handlers.document
    assert handlers.stopped == 0


async def test_rows_come_before_the_answer(runtime_directory: Path) -> None:
    handlers = Handlers()
    rows: list[dict[str, object]] = []
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)

        assert await in_thread(daemon.cache, CacheList(), rows.append) == "done"
        assert [row["row"] for row in rows] == [0, 1, 2]
        with pytest.raises(Unavailable, match="the disk is full"):
            await in_thread(daemon.cache, CacheCollect(None), rows.append)


async def test_what_a_client_asked_for_ends_when_it_goes(runtime_directory: Path) -> None:
    def enough(row: object) -> None:
        raise KeyboardInterrupt

    handlers = Handlers()
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)
        with pytest.raises(KeyboardInterrupt):
            await in_thread(daemon.cache, CacheVerify(), enough)
        with trio.fail_after(10):
            while handlers.asked != [CacheVerify(), "ended"]:  # noqa: ASYNC110 - nobody tells when the server has noticed
                await trio.sleep(0.005)


async def test_a_warming_tells_how_far_it_is_and_why_it_failed(runtime_directory: Path) -> None:
    handlers = Handlers()
    told: list[tuple[int, int]] = []

    def warm(path: str, *, supernode_only: bool = False) -> None:
        daemon.warm(parse_url(f"http://h/{path}"), lambda held, size: told.append((held, size)), supernode_only=supernode_only)

    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)
        await in_thread(warm, "file")
        assert told == [(2, 5), (5, 5)]
        await in_thread(partial(warm, "file", supernode_only=True))
        with pytest.raises(NotFound, match="the origin has no such file"):
            await in_thread(warm, "missing")
        with pytest.raises(RemoteProtocolError, match="no progress"):
            await in_thread(warm, "odd")
    assert [one for one in handlers.asked if one != "ended"] == [
        ("http://h/file", False),
        ("http://h/file", True),
        ("http://h/missing", False),
        ("http://h/odd", False),
    ]


async def test_a_warming_ends_when_its_client_goes(runtime_directory: Path) -> None:
    def enough(held: int, size: int) -> None:
        raise KeyboardInterrupt

    handlers = Handlers()
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)
        with pytest.raises(KeyboardInterrupt):
            await in_thread(partial(daemon.warm, parse_url("http://h/endless"), enough, supernode_only=False))
        with trio.fail_after(10):
            while handlers.asked[-1] != "ended":  # noqa: ASYNC110 - nobody tells when the server has noticed
                await trio.sleep(0.005)


async def test_many_warmings_leave_room_for_a_status(runtime_directory: Path) -> None:
    running, gate = 0, trio.Event()

    class Slow(Handlers):
        async def warm(self, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
            nonlocal running
            running += 1
            await gate.wait()
            running -= 1

    def warm() -> None:
        daemon.warm(parse_url("http://h/a"), lambda *_: None, supernode_only=False)

    handlers = Slow()
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)
        async with trio.open_nursery() as nursery:
            for _ in range(server._WARMING):
                nursery.start_soon(in_thread, warm)
            with trio.fail_after(10):
                while running < server._WARMING:  # noqa: ASYNC110 - nobody tells when all of them have begun
                    await trio.sleep(0.005)
            with pytest.raises(Unavailable, match="the daemon warms 8 files already; try again when one of them is done"):
                await in_thread(warm)
            assert await in_thread(daemon.status) == handlers.document
            gate.set()
        await in_thread(warm)
    assert running == 0


async def test_another_user_of_the_group_may_look_at_the_cache_and_not_change_it(
    runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_user", lambda connection: 4711)
    handlers = Handlers()
    rows: list[object] = []
    async with served(runtime_directory / "mnt.sock", handlers):
        daemon = await found(runtime_directory)
        assert await in_thread(daemon.cache, CacheList(), rows.append) == "done"
        for request in (CacheRemove(("a",)), CacheCollect(None), CacheVerify()):
            with pytest.raises(Denied, match="only root and the user who mounted it may change its cache"):
                await in_thread(daemon.cache, request, rows.append)
    assert handlers.asked == [CacheList(), "ended"]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"nonsense\n", b'{"error": "remote_protocol", "message": "a line that is no JSON"}\n'),
        (b'{"request": "path", "url": "ftp://h"}\n', b"not an http or https URL"),
        (b"x" * 100_000, b""),
        (b"half a requ", b""),
    ],
)
async def test_whatever_a_client_sends_the_daemon_lives(runtime_directory: Path, sent: bytes, answered: bytes) -> None:
    path = runtime_directory / "mnt.sock"
    async with served(path, Handlers()):
        with trio.fail_after(10):
            async with await trio.open_unix_socket(path) as stream:
                received = b""
                try:
                    await stream.send_all(sent)
                    await stream.send_eof()
                    received = b"".join([part async for part in stream])
                except trio.BrokenResourceError:
                    pass  # it hung up on us
        assert answered in received
        assert await in_thread((await found(runtime_directory)).status) == {"mountpoint": "/mnt/fly"}


async def test_clients_that_say_nothing_are_shown_out(runtime_directory: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = runtime_directory / "mnt.sock"
    async with served(path, Handlers()), await trio.open_unix_socket(path) as stream:
        assert await stream.receive_some() == b""
        assert 10 <= trio.current_time() < 11


async def test_many_clients_at_once_are_all_answered(runtime_directory: Path) -> None:
    async with served(runtime_directory / "mnt.sock", Handlers()):
        daemon = await found(runtime_directory)
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await in_thread(daemon.status))

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(ask)
    assert answers == [{"mountpoint": "/mnt/fly"}] * 60


async def test_a_second_daemon_of_one_mount_is_refused(runtime_directory: Path) -> None:
    path = runtime_directory / "mnt.sock"
    async with served(path, Handlers()):
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=f"the daemon {os.getpid()} already serves this mount")):
            async with served(path, Handlers()):
                pass  # pragma: no cover - it never gets here
        assert await in_thread((await found(runtime_directory)).status) == {"mountpoint": "/mnt/fly"}


async def test_the_socket_of_a_dead_daemon_is_taken_over(runtime_directory: Path) -> None:
    path = runtime_directory / "mnt.sock"
    leave_a_dead_socket(path)
    async with served(path, Handlers()):
        assert (await found(runtime_directory)).pid == os.getpid()


async def test_a_place_that_cannot_hold_a_socket_is_a_configuration_error(runtime_directory: Path) -> None:
    (runtime_directory / "file").write_text("")
    for path in (runtime_directory / "file" / "mnt.sock", runtime_directory / ("x" * 120) / "mnt.sock"):
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=r"the control socket cannot be made: .*--runtime-dir")):
            async with served(path, Handlers()):
                pass  # pragma: no cover - it never gets here


async def test_a_server_leaves_the_socket_of_its_successor(runtime_directory: Path) -> None:
    path = runtime_directory / "mnt.sock"
    async with served(path, Handlers()):
        path.unlink()
        path.write_text("the successor's")
    assert path.read_text() == "the successor's"
    path.unlink()
    async with served(path, Handlers()):
        path.unlink()
    assert not path.exists()


def leave_a_dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def test_the_socket_of_a_dead_daemon_is_recognised_and_removed(runtime_directory: Path) -> None:
    path = runtime_directory / "mnt.sock"
    leave_a_dead_socket(path)

    assert daemon_pid(path) is None
    assert not path.exists()
    assert daemon_pid(path) is None
    assert find_daemon([runtime_directory, Path("/no/such")], "mnt") is None


def test_a_socket_that_we_may_not_remove_is_dead_all_the_same(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_a_dead_socket(runtime_directory / "mnt.sock")

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    assert daemon_pid(runtime_directory / "mnt.sock") is None
    monkeypatch.undo()


async def test_all_daemons_that_let_us_in_are_found(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_a_dead_socket(runtime_directory / "dead.sock")
    async with served(runtime_directory / "b.sock", Handlers()), served(runtime_directory / "a.sock", Handlers()):
        daemons = await in_thread(find_daemons, [runtime_directory, Path("/no/such")])
        assert [daemon.path.name for daemon in daemons] == ["a.sock", "b.sock"]

        def refused(connection: socket.socket, address: str) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket.socket, "connect", refused)
        assert await in_thread(find_daemons, [runtime_directory]) == []
        with pytest.raises(Denied, match="the daemon is another user's; ask as that user, or as root"):
            await in_thread(find_daemon, [runtime_directory], "a")
        monkeypatch.undo()


def test_a_directory_that_is_closed_to_us_is_a_refusal(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", refused)
    with pytest.raises(Denied):
        daemon_pid(runtime_directory / "mnt.sock")
    monkeypatch.undo()


def test_a_daemon_that_does_not_answer_is_unavailable_within_the_deadline(
    runtime_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as stalled:
        stalled.bind(str(runtime_directory / "mnt.sock"))
        stalled.listen()
        daemon = find_daemon([runtime_directory], "mnt")

        assert daemon is not None
        assert daemon.pid == os.getpid()  # the kernel tells it, not the daemon
        with pytest.raises(Unavailable, match=rf"the daemon {os.getpid()} does not answer: timed out"):
            daemon.status()


def test_a_daemon_that_accepts_nothing_is_unavailable(runtime_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_LOOK_S", 0.05)
    path = runtime_directory / "mnt.sock"
    with socket.socket(socket.AF_UNIX) as stalled, socket.socket(socket.AF_UNIX) as first:
        stalled.bind(str(path))
        stalled.listen(0)
        first.connect(str(path))

        with pytest.raises(Unavailable, match="the daemon accepts no connection"):
            daemon_pid(path)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'{"answer": 5}\n', RemoteProtocolError),
        (b"", Unavailable),
        (b'{"answer"', Unavailable),
        (b"x" * 5_000_000, RemoteProtocolError),
    ],
)
def test_a_wrong_answer_is_an_error(runtime_directory: Path, answer: bytes, error: type[Exception]) -> None:
    path = runtime_directory / "mnt.sock"
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(str(path))
        odd.listen()

        def reply() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(4096)
                try:
                    connection.sendall(answer)
                except BrokenPipeError:
                    return  # the client has had enough

        for ask in (ControlClient(path, 1).status, lambda: ControlClient(path, 1).path_of(parse_url("http://h/a"))):
            replying = threading.Thread(target=reply)
            replying.start()
            with pytest.raises(error):
                ask()
            replying.join()
