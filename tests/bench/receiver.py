"""A peer without a mount, which fetches one file into its store: ``python -m tests.bench.receiver JSON``. Shell.

Prints JSON once it has everything, and goes on serving it until its input ends. Of what came it reads a byte per step, as far as
a reader would: so the bytes go from a socket through their proof to the store, and no further.
"""

import json
import os
import sys
import time
from pathlib import Path

import trio

from flyfs.core.address import Address, parse_address
from flyfs.core.remote import RemoteFile
from flyfs.core.urls import parse_url
from flyfs.core.verify import Verify
from flyfs.daemon.peer import Peer, PeerSettings, run_peer
from flyfs.telemetry.heap import settle_heap
from flyfs.telemetry.log import logging_to_stderr
from tests.bench.ground import MB, MIB
from tests.bench.processes import ChildFailed, cpu_s

_LIMIT_S = 100.0


def _settings(cache: str, supernode: str) -> PeerSettings:
    return PeerSettings(
        supernodes=(parse_address(supernode),),
        resolver=None,
        cache_directory=Path(cache),
        cache_limit_bytes=None,
        verify=Verify.FIRST_USE,
        owner="a benchmark",
        listen=Address("127.0.0.1", 0),
        listen_may_move=False,
        advertise=None,
        location="",
        no_origin=True,
        deadline_s=_LIMIT_S,
        allow_origin=(),
        origin_ca=None,
        piece_size=None,
        rate_limit=None,
        limit_directories=(Path(cache) / "run",),
        log_level="warning",
    )


async def _fetch(peer: Peer, url: str) -> dict[str, float]:
    file = await peer.swarm.stat(parse_url(url), max_age_s=60.0)
    if not isinstance(file, RemoteFile):
        raise ChildFailed(f"no file: {url}")
    start_s, start_cpu_s = time.perf_counter(), cpu_s(os.getpid())
    opened = await peer.swarm.open(file)
    try:
        size = opened.blob.size
        for end in range(MIB, size + MIB, MIB):
            offset = min(end, size) - 1
            if opened.read_nowait(offset, 1) is None:
                await opened.read(offset, 1)
    finally:
        opened.close()
    seconds = time.perf_counter() - start_s
    return {
        "mb_per_s": size / seconds / MB,
        "cpu_s_per_gb_receiver": (cpu_s(os.getpid()) - start_cpu_s) * 1e9 / size,
        "from_peers": peer.counters.peer_bytes / size,
        "pieces": float(peer.counters.pieces_verified),
    }


async def _run(cache: str, supernode: str, url: str) -> None:
    async with run_peer(_settings(cache, supernode)) as peer:
        settle_heap()  # as a daemon does
        with trio.fail_after(_LIMIT_S):
            told = await _fetch(peer, url)
        print(json.dumps(told), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    with logging_to_stderr("warning"):
        trio.run(_run, *json.loads(sys.argv[1]))
