"""The only process that touches a mount: a child that does one thing, times it itself, and prints JSON. Shell.

``python -I -S reader.py WHAT JSON``. Alone in its file and with few imports, so that it starts in some 15 ms and depends on
nothing of the project. It may hang with its mount; who started it kills it.
"""

import ctypes
import json
import os
import random
import select
import struct
import sys
import time
from collections.abc import Callable

_MIB = 1 << 20
_PAGE = 4096
_CACHESTAT = 451
"""cachestat(2), Linux 6.5, the same number on all machines."""


def sequential(path: str) -> dict[str, float]:
    """The whole file from its start, 1 MiB a call, into one buffer."""
    buffer = bytearray(_MIB)
    size = 0
    start_s = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
    return {"seconds": time.perf_counter() - start_s, "bytes": size}


def drop(paths: list[str]) -> dict[str, float]:
    """Tells the kernel to forget the pages of these files; gives the bytes that stayed all the same, -1 where it cannot tell."""
    left = 0
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        left += max(0, _resident_bytes(descriptor))
        os.close(descriptor)
    return {"left": left}


def _resident_bytes(descriptor: int) -> int:
    span, answer = ctypes.create_string_buffer(struct.pack("QQ", 0, 0), 16), ctypes.create_string_buffer(40)
    if ctypes.CDLL(None, use_errno=True).syscall(_CACHESTAT, descriptor, span, answer, 0):
        return -1
    return int(struct.unpack("5Q", answer.raw)[0]) * _PAGE


def scattered(path: str, readers: int, seconds: float) -> dict[str, float]:
    """Pages in random order, none twice, by some processes at once, until the time or the pages are over."""
    pages = list(range(os.stat(path).st_size // _PAGE))
    random.Random(7).shuffle(pages)
    ends: list[int] = []
    children: list[int] = []
    start_s = time.perf_counter()
    for number in range(readers):
        receiving, sending = os.pipe()
        child = os.fork()
        if child == 0:
            count = _read_pages(path, pages[number::readers], start_s + seconds)
            os.write(sending, json.dumps([count, time.perf_counter() - start_s]).encode())
            os._exit(0)
        os.close(sending)
        ends.append(receiving)
        children.append(child)
    answers = [json.loads(os.read(end, 100)) for end in ends]
    for child in children:
        os.waitpid(child, 0)
    return {"reads": sum(count for count, _ in answers), "seconds": max(took_s for _, took_s in answers)}


def _read_pages(path: str, pages: list[int], until_s: float) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    for count, page in enumerate(pages):
        if len(os.pread(descriptor, _PAGE, page * _PAGE)) != _PAGE:
            raise EOFError(path)
        if time.perf_counter() >= until_s:
            return count + 1
    return len(pages)


def latency(path: str, pause_s: float, stride_bytes: int = _PAGE) -> dict[str, float]:
    """Reads of single pages, one of each stride, in random order with pauses, until standard input ends or all were read."""
    pages = list(range(0, os.stat(path).st_size // _PAGE, stride_bytes // _PAGE))
    random.Random(8).shuffle(pages)
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    took_s: list[float] = []
    print("ready", flush=True)
    for page in pages:
        start_s = time.perf_counter()
        os.pread(descriptor, _PAGE, page * _PAGE)
        took_s.append(time.perf_counter() - start_s)
        if select.select([sys.stdin], [], [], pause_s)[0]:
            break
    took_s.sort()
    return {
        "reads": len(took_s),
        "p50_ms": took_s[len(took_s) // 2] * 1000,
        "p99_ms": took_s[min(len(took_s) - 1, len(took_s) * 99 // 100)] * 1000,
        "max_ms": took_s[-1] * 1000,
    }


def first(path: str) -> dict[str, float]:
    """Opens a file, and reads its first page."""
    start_s = time.perf_counter()
    descriptor = os.open(path, os.O_RDONLY)
    opened_s = time.perf_counter()
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    if not os.pread(descriptor, _PAGE, 0):
        raise EOFError(path)
    return {"seconds": time.perf_counter() - start_s, "open_seconds": opened_s - start_s}


def visit(paths: list[str]) -> dict[str, float]:
    """Lists what is a directory and looks up the rest, whether it is there or not."""
    found = 0
    for path in paths:
        found += len(os.listdir(path)) if path.endswith("/") else int(os.path.exists(path))
    return {"found": found}


_ACTIONS: dict[str, Callable[..., dict[str, float]]] = {
    "sequential": sequential,
    "drop": drop,
    "scattered": scattered,
    "latency": latency,
    "first": first,
    "visit": visit,
}

if __name__ == "__main__":
    print(json.dumps(_ACTIONS[sys.argv[1]](**json.loads(sys.argv[2]))))
