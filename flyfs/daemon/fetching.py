"""One file fetched without a mount: ``flyfs get`` where no daemon helps. Shell."""

import tempfile
from pathlib import Path
from typing import Protocol

import trio

from flyfs.config.get import GetConfig
from flyfs.config.warm import WarmConfig
from flyfs.core.address import Address
from flyfs.core.errors import ConfigError, NotFound, Unavailable, told_error
from flyfs.core.remote import RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.daemon.peer import PeerSettings, run_peer
from flyfs.swarm.open_blob import OpenBlob
from flyfs.swarm.swarm import Swarm

DEADLINE_S = 60.0
"""How long a piece may take; the whole fetch has ``--timeout``."""

STEP_BYTES = 1024 * 1024


class Sink(Protocol):
    """Takes a file's bytes, in order."""

    def begin(self, size: int | None) -> None:
        """Called once, before the first byte."""
        ...

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes; the buffer may be reused after the call."""
        ...


def fetch(config: GetConfig, url: RemoteUrl, sink: Sink) -> None:
    """Gives the whole content of ``url`` to ``sink``.

    Raises:
        FlyfsError: it cannot be had, or not within ``config.timeout_s``.
    """
    if config.cache_is_shared:
        try:
            _run(peer_settings(config, config.cache_directory), config.timeout_s, url, sink)
        except ConfigError:  # another fetch has it, or it cannot be written: nothing was given to the sink yet
            with tempfile.TemporaryDirectory(prefix="flyfs-get-") as directory:
                _run(peer_settings(config, Path(directory)), config.timeout_s, url, sink)
    else:
        _run(peer_settings(config, config.cache_directory), config.timeout_s, url, sink)


def _run(settings: PeerSettings, timeout_s: float | None, url: RemoteUrl, sink: Sink) -> None:
    try:
        trio.run(_fetch, settings, timeout_s, url, sink)
    except BaseExceptionGroup as group:
        raise told_error(group) from group


def peer_settings(config: GetConfig | WarmConfig, directory: Path) -> PeerSettings:
    """A peer for the time of one command, with its store in ``directory``."""
    return PeerSettings(
        supernodes=config.supernodes,
        resolver=config.resolver,
        cache_directory=directory,
        cache_limit_bytes=config.cache_limit_bytes,
        verify=config.verify,
        owner="flyfs get",
        listen=Address("127.0.0.1", 0),
        listen_may_move=False,
        advertise=None,
        location="",
        no_origin=config.no_origin,
        deadline_s=DEADLINE_S,
        allow_origin=config.allow_origin,
        origin_ca=config.origin_ca,
        piece_size=config.piece_size,
        rate_limit=None,  # the command has set it
        limit_directories=config.runtime_directories,
        log_level=config.log_level,
    )


async def _fetch(settings: PeerSettings, timeout_s: float | None, url: RemoteUrl, sink: Sink) -> None:
    with trio.move_on_after(timeout_s if timeout_s is not None else float("inf")) as scope:
        async with run_peer(settings) as peer:
            await _copy(peer.swarm, url, sink)
    if scope.cancelled_caught:
        raise Unavailable(f"{url.redacted()} did not arrive in time; give it longer with --timeout")


async def find_file(swarm: Swarm, url: RemoteUrl) -> RemoteFile:
    """The newest version of a file, with its length.

    Raises:
        NotFound: it is a directory.
        FlyfsError: as ``Swarm.stat``.
    """
    file = await swarm.stat(url, max_age_s=0.0, read=True)
    if isinstance(file, RemoteFile) and file.blob is None:
        file = await swarm.stat(url, max_age_s=0.0, pin=True)
    if not isinstance(file, RemoteFile):
        raise NotFound(f"{url.redacted()} is a directory; give the URL of a file")
    return file


async def _copy(swarm: Swarm, url: RemoteUrl, sink: Sink) -> None:
    opened = await swarm.open(await find_file(swarm, url))
    try:
        size = opened.blob.size
        sink.begin(size)
        for offset in range(0, size, STEP_BYTES):
            data: memoryview | bytes | None = opened.read_nowait(offset, STEP_BYTES)
            if data is None:
                data = await _within_deadline(opened, offset)
            await trio.to_thread.run_sync(sink.write, bytes(data))  # the view is valid until the next await only
    finally:
        opened.close()


async def _within_deadline(opened: OpenBlob, offset: int) -> memoryview | bytes:
    with trio.move_on_after(DEADLINE_S):
        return await opened.read(offset, STEP_BYTES)
    raise Unavailable(f"nothing arrived within {DEADLINE_S:.0f} s; {opened.why() or 'nobody could be asked'}")
