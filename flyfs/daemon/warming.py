"""Files fetched before anybody reads them: onto this host, or onto the supernode alone. Shell."""

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import trio

from flyfs.config.warm import WarmConfig
from flyfs.core.blob import Blob
from flyfs.core.errors import RemoteProtocolError, StoreFull, Unavailable, told_error
from flyfs.core.urls import RemoteUrl
from flyfs.daemon.fetching import find_file, peer_settings
from flyfs.daemon.peer import Peer, run_peer
from flyfs.swarm.open_blob import OpenBlob
from flyfs.swarm.swarm import Swarm
from flyfs.wire.messages import Warm, Warmth

TELL_S = 0.25
"""How often to tell how far it is."""

STALL_S = 120.0
"""So long a piece of 1 MiB takes at the slowest rate that can be set."""

WAIT_S = 1.0
"""How often a supernode tells how far it is."""
ANSWER_S = 30.0

Tell: TypeAlias = Callable[[int, int], Awaitable[None]]
"""Is told now and then how many bytes of how many are there."""


async def warm(peer: Peer, url: RemoteUrl, tell: Tell, *, supernode_only: bool) -> None:
    """Has the whole content of ``url`` in the store of this peer, or of the supernode.

    Raises:
        StoreFull: there is no room for all of it.
        FlyfsError: it cannot be had.
    """
    file = await find_file(peer.swarm, url)
    assert file.blob is not None, "it was found with its length"
    if supernode_only:
        await _warm_supernode(peer.swarm, file.blob, tell)
        return
    if file.blob.size > peer.store.capacity_bytes:  # else it would push out everything else first
        raise StoreFull(f"{url.redacted()} is larger than what the cache may hold; give it more with --cache-limit")
    opened = await peer.swarm.open(file)
    try:
        await _bring(opened, url, tell)
    finally:
        opened.close()


async def _bring(opened: OpenBlob, url: RemoteUrl, tell: Tell) -> None:
    size = opened.blob.size
    held, since = -1, trio.current_time()
    with opened.bringing_all() as coming:
        while not coming.done.is_set():
            if opened.held_bytes != held:
                held, since = opened.held_bytes, trio.current_time()
            elif trio.current_time() > since + STALL_S:
                raise Unavailable(f"{url.redacted()}: nothing arrived for {STALL_S:.0f} s; {opened.why() or 'nobody has it'}")
            await tell(held, size)
            with trio.move_on_after(TELL_S):
                await coming.done.wait()
        await coming.wait()
    await tell(size, size)


async def _warm_supernode(swarm: Swarm, blob: Blob, tell: Tell) -> None:
    """Asks again and again: the supernode goes on for as long as somebody does."""
    held, since = -1, trio.current_time()
    await tell(0, blob.size)
    while held < len(blob.grid):
        before, held = held, await _ask_supernode(swarm, blob)
        await tell(min(held * blob.piece_size, blob.size), blob.size)
        if held != before:
            since = trio.current_time()
        elif trio.current_time() > since + STALL_S:
            raise Unavailable(f"{blob.url}: the supernode read nothing for {STALL_S:.0f} s")


async def _ask_supernode(swarm: Swarm, blob: Blob) -> int:
    """How many pieces it holds after a second, or once it holds all."""
    question = Warm(blob=blob, wait_s=WAIT_S)
    match await swarm.supernodes.ask(blob.url, lambda _: question, timeout_s=ANSWER_S):
        case Warmth(held=held):
            return held
        case reply:
            raise RemoteProtocolError(f"an answer to Warm that does not fit: {type(reply).__name__}")


def warm_alone(config: WarmConfig, reported: Callable[[RemoteUrl], AbstractContextManager[Tell]]) -> None:
    """Warms without a daemon, one URL after the other, each within ``reported``, which may keep its failure for later.

    Raises:
        FlyfsError: nothing can be fetched at all.
    """
    with tempfile.TemporaryDirectory(prefix="flyfs-warm-") as nothing_kept:
        directory = Path(nothing_kept) if config.supernode_only else config.cache_directory
        try:
            trio.run(_warm_all, config, directory, reported)
        except BaseExceptionGroup as group:
            raise told_error(group) from group


async def _warm_all(config: WarmConfig, directory: Path, reported: Callable[[RemoteUrl], AbstractContextManager[Tell]]) -> None:
    async with run_peer(peer_settings(config, directory)) as peer:
        for url in config.urls:
            with reported(url) as tell:
                await warm(peer, url, tell, supernode_only=config.supernode_only)
