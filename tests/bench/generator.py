"""Loads one supernode: ``python -m tests.bench.generator WHAT JSON`` prints JSON. Shell.

A process of its own, so that it has a core of its own. What it asks for is pipelined a few deep on each connection, as real peers
do, and answers are counted while a clock runs.
"""

import json
import resource
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from flyfs.core.address import Address, parse_address
from flyfs.core.bitmap import Bitmap
from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.grid import MIB, piece_size_for
from flyfs.core.ids import PUBLIC, PieceIndex
from flyfs.wire.codec import FrameDecoder, encode
from flyfs.wire.messages import (
    MAJOR,
    MESSAGES,
    MINOR,
    Failed,
    FileFound,
    GetPiece,
    Have,
    Hello,
    Hurry,
    Introduce,
    Join,
    Joined,
    Message,
    Offer,
    Piece,
    Ping,
    Reached,
    Retire,
    Shun,
    Stat,
    Welcome,
)
from tests.bench.completion import summary
from tests.bench.processes import ChildFailed, cpu_s, resident_mib
from tests.bench.simulated_peers import LOST, REQUEST, SimulatedPeer, SimulatedPeers, peer_id_of

_ASKING, _DEEP, _EVENTS = range(1, 101), 8, 10
"""Who asks, how many questions each has on the way, and how many events go with one."""
_AT_ONCE = 50
"""Peers of a burst that connect before what came meanwhile is read: so the generator is no bottleneck."""
_CONNECTIONS = 100
_LIMIT_S = 60.0
_QUIET_S = 5.0
"""Nothing came for so long: nothing will."""
_BLOB_BYTES = 200 * MIB
_TASKS = 10
_NEWS = {one.code for one in (Hurry, Introduce, Offer, Reached, Retire, Shun)}
"""Nobody asked for them."""

Figures = dict[str, float]


def _a_blob(number: int) -> Blob:
    return Blob(
        url=f"http://127.0.0.1:9/{number}",
        principal=PUBLIC,
        validator=Validator(ValidatorKind.ETAG, '"1"'),
        size=_BLOB_BYTES,
        generation=0,
        piece_size=piece_size_for(_BLOB_BYTES),
    )


def _join(blob: Blob, *, has_all: bool = False) -> bytes:
    pieces = len(blob.grid)
    have = Bitmap.of(pieces, range(pieces) if has_all else ()).to_bytes()
    return encode(Join(blob=blob, have=have, durable=have, reading=not has_all), REQUEST)


class _Rate:
    """Counts between two moments, and how busy the supernode's core was."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu_s, self._start_s = cpu_s(pid), time.perf_counter()

    def per_s(self, **counts: float) -> Figures:
        """``NAME_per_s`` of each count, and ``core_busy``."""
        seconds = time.perf_counter() - self._start_s
        rates = {f"{name}_per_s": count / seconds for name, count in counts.items()}
        return rates | {"core_busy": (cpu_s(self._pid) - self._cpu_s) / seconds}


def _greeted(peers: SimulatedPeers, numbers: range, *, reachable: bool, body_bytes: int = 0) -> list[SimulatedPeer]:
    """Peers that are connected, and reached where they are to be."""
    came = [peers.come(number, reachable=reachable, body_bytes=body_bytes) for number in numbers]
    _await(peers, Reached if reachable else Welcome, len(came))
    return came


def _readers(peers: SimulatedPeers, blob: Blob) -> list[SimulatedPeer]:
    """Peers without an address, who have joined a blob; its first pieces are as long as any."""
    asking = _greeted(peers, _ASKING, reachable=False, body_bytes=blob.grid.length_of(PieceIndex(0)))
    join = _join(blob)
    for peer in asking:
        peers.say(peer, join)
    _await(peers, Joined, len(asking))
    return asking


def _await(peers: SimulatedPeers, kind: type[Message], count: int) -> None:
    end_s = time.perf_counter() + _LIMIT_S
    while count > 0:
        count -= sum(code == kind.code for _, code in peers.turn(1.0))
        if time.perf_counter() > end_s:
            raise ChildFailed(f"{count} {kind.__name__} missing after {_LIMIT_S:g} s")


# -- rates --------------------------------------------------------------------------------------------------------------


def registrations(address: Address, pid: int, seconds: float) -> Figures:
    """Connect, ``Hello``, ``Welcome``, ``Join``, ``Joined``, and gone again, some at a time; nobody has an address."""
    join, done = _join(_a_blob(0)), 0
    with SimulatedPeers(address) as peers:
        for number in range(1, _CONNECTIONS + 1):
            peers.come(number, reachable=False)
        number, rate, end_s = _CONNECTIONS, _Rate(pid), time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            for peer, code in peers.turn(1.0):
                if code == Welcome.code:
                    peers.say(peer, join)
                elif code == Joined.code:
                    done += 1
                    number += 1
                    peers.go(peer)
                    peers.come(number, reachable=False)
                elif code == LOST:
                    raise ChildFailed("a registration was refused")
        return rate.per_s(registrations=done)


def _answers(
    peers: SimulatedPeers, asking: Sequence[SimulatedPeer], pid: int, seconds: float, request: Callable[[int], bytes]
) -> tuple[Counter[str], _Rate]:
    """Counts answers by their names, while requests follow each other on many connections; each peer numbers its own."""
    counted: Counter[str] = Counter()
    asked: Counter[int] = Counter()
    for peer in asking:
        peers.say(peer, b"".join(map(request, range(_DEEP))))
        asked[peer.number] = _DEEP
    rate, end_s = _Rate(pid), time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for peer, code in peers.turn(1.0):
            if code == LOST:
                raise ChildFailed("the supernode hung up")
            if code in _NEWS:
                continue
            counted[MESSAGES[code].__name__] += 1
            peers.say(peer, request(asked[peer.number]))
            asked[peer.number] += 1
    return counted, rate


def heartbeats(address: Address, pid: int, seconds: float) -> Figures:
    """``Ping`` and ``Done``."""
    ping = encode(Ping(), REQUEST)
    with SimulatedPeers(address) as peers:
        asking = _greeted(peers, _ASKING, reachable=False)
        counted, rate = _answers(peers, asking, pid, seconds, lambda _: ping)
        return rate.per_s(heartbeats=counted["Done"])


def haves(address: Address, pid: int, seconds: float) -> Figures:
    """``Have`` events of peers that read a blob; a ``Ping`` behind every few tells that they were taken."""
    blob = _a_blob(0)
    ping = encode(Ping(), REQUEST)

    def request(number: int) -> bytes:
        pieces = (piece % len(blob.grid) for piece in range(number * _EVENTS, (number + 1) * _EVENTS))
        return b"".join(encode(Have(blob_id=blob.id, runs=((piece, 1),))) for piece in pieces) + ping

    frames = [request(number) for number in range(len(blob.grid))]
    with SimulatedPeers(address) as peers:
        asking = _readers(peers, blob)
        counted, rate = _answers(peers, asking, pid, seconds, lambda number: frames[number % len(frames)])
        return rate.per_s(haves=counted["Done"] * _EVENTS)


def pieces(address: Address, pid: int, seconds: float, url: str) -> Figures:
    """The first piece of ``url``, which the supernode holds, sent to peers that have no address and so are no holders."""
    blob = _blob_at(address, url)
    body_bytes = blob.grid.length_of(PieceIndex(0))
    get = encode(GetPiece(blob_id=blob.id, piece=0, demand=True, proof=False), REQUEST)
    with SimulatedPeers(address) as peers:
        asking = _readers(peers, blob)
        peers.say(asking[0], get)  # from here on it is held
        _await(peers, Piece, 1)
        counted, rate = _answers(peers, asking, pid, seconds, lambda _: get)
        sent = counted["Piece"]
        return rate.per_s(pieces=sent, others=counted.total() - sent, mb=sent * body_bytes / 1e6)


def redirects(address: Address, pid: int, seconds: float, url: str) -> Figures:
    """Pieces of ``url`` that a peer holds, each asked for by everybody once: they are told to ask that peer."""
    blob = _blob_at(address, url)
    gets = [encode(GetPiece(blob_id=blob.id, piece=piece, demand=True, proof=False), REQUEST) for piece in range(len(blob.grid))]
    with SimulatedPeers(address) as peers:
        (holder,) = _greeted(peers, range(1), reachable=True)
        peers.say(holder, _join(blob, has_all=True))
        _await(peers, Joined, 1)
        asking = _readers(peers, blob)
        counted, rate = _answers(peers, asking, pid, seconds, lambda number: gets[number % len(gets)])
        sent = counted["Elsewhere"]
        return rate.per_s(redirects=sent, others=counted.total() - sent)


def _blob_at(address: Address, url: str) -> Blob:
    """What the supernode says that there is."""
    hello = Hello(major=MAJOR, minor=MINOR, peer_id=peer_id_of(0), role="peer", version="bench")
    decoder = FrameDecoder()
    with socket.create_connection((address.host, address.port), timeout=_LIMIT_S) as connection:
        connection.sendall(encode(hello, REQUEST) + encode(Stat(url=url, principal=PUBLIC, max_age_s=60.0), REQUEST))
        while data := connection.recv(1 << 16):
            decoder.feed(data)
            while (envelope := decoder.next_message()) is not None:
                match envelope.message:
                    case FileFound(blob=Blob() as blob):
                        return blob
                    case Failed(message=message):
                        raise ChildFailed(message)
    raise ChildFailed(f"no answer about {url}")


# -- crowds -------------------------------------------------------------------------------------------------------------


def memory(address: Address, pid: int, count: int) -> Figures:
    """What a connected peer costs, and what each blob that it takes part in."""
    blobs = [_a_blob(number) for number in range(_TASKS)]
    with SimulatedPeers(address) as peers:
        resident = [resident_mib(pid)]
        came = _greeted(peers, range(1, count + 1), reachable=True)
        resident.append(resident_mib(pid))
        for blob in blobs:
            join = _join(blob)
            for peer in came:
                peers.say(peer, join)
            _await(peers, Joined, count)
        resident.append(resident_mib(pid))
    of_peers, of_tasks = (after - before for before, after in pairwise(resident))
    return {
        "kib_per_peer": of_peers * 1024 / count,
        "kib_per_peer_and_task": of_tasks * 1024 / count / _TASKS,
        "resident_mib": resident[-1],
    }


def burst(address: Address, pid: int, count: int) -> Figures:
    """All peers connect at the same moment and join one blob; the clock starts then. Who is refused does not come again."""
    join = _join(_a_blob(0))
    came, welcomed, joined, reached, lost = 0, 0, list[float](), 0, 0
    with SimulatedPeers(address) as peers:
        rate, start_s = _Rate(pid), time.perf_counter()
        told_s = start_s
        while time.perf_counter() < told_s + _QUIET_S and (len(joined) + lost < count or reached < count - lost):
            for _ in range(min(_AT_ONCE, count - came)):
                came += 1
                peers.come(came, reachable=True)
            for peer, code in peers.turn(0.0 if came < count else 0.1):
                told_s = time.perf_counter()
                if code == Welcome.code:
                    welcomed += 1
                    peers.say(peer, join)
                elif code == Joined.code:
                    joined.append(told_s - start_s)
                elif code == Reached.code:
                    reached += 1
                elif code == LOST:
                    lost += 1
        took_s, busy = told_s - start_s, rate.per_s()["core_busy"]
    told = {f"joined_{name}": value for name, value in summary(joined).items()} if joined else {}
    return told | {
        "joined": len(joined),
        "refused": count - len(joined),
        "reached": reached,
        "all_s": took_s,
        "core_busy": busy,
        "resident_mib": resident_mib(pid),
    }


_WHAT: dict[str, Callable[..., Figures]] = {
    one.__name__: one for one in (registrations, heartbeats, haves, pieces, redirects, memory, burst)
}


def main() -> None:
    """Does one thing, and prints its figures."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(_WHAT[what](parse_address(arguments.pop("address")), **arguments)))


if __name__ == "__main__":
    main()
