"""Reads a mount from a process of its own, so that a read that hangs never blocks a test. Shell.

A thread that waits for a FUSE request cannot always be killed: whoever does not answer in time is left behind, and ends when its
mount does. Run as a script this file is that process: one JSON request per line in, one answer per line out.
"""

import errno
import hashlib
import json
import mmap
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ANSWER_S = 30.0
"""How long a request may take before it counts as hanging."""
_END_S = 2.0
_PAUSE_S = 0.05
_STEP_BYTES = 1024 * 1024


class HangingError(AssertionError):
    """A request did not come back in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a request ended.

    Attributes:
        error: the errno's name, empty for none.
        seconds: how long the request took.
        value: what it gave, None where it failed.
    """

    error: str
    seconds: float
    value: Any = None


class Reader:
    """The reading process, seen from a test. Every method takes at most ``timeout_s`` and raises HangingError beyond."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._lines = b""

    @classmethod
    @contextmanager
    def started(cls) -> "Generator[Reader, None, None]":
        """A running one; ends with the block."""
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/"
        )
        try:
            yield cls(process)
        finally:
            end_or_leave(process)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, do: str, *, timeout_s: float = ANSWER_S, **fields: Any) -> Answer:
        """Does one thing; the names of the methods of ``_Reading`` say which there are."""
        self.begin(do, **fields)
        return self.finish(timeout_s=timeout_s)

    def begin(self, do: str, **fields: Any) -> None:
        """Sends a request without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **_texts(fields)}).encode() + b"\n")

    def finish(self, *, timeout_s: float = ANSWER_S) -> Answer:
        """The answer to what was begun."""
        assert self._process.stdout is not None
        until = time.monotonic() + timeout_s
        while b"\n" not in self._lines:
            if not select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise HangingError(f"no answer within {timeout_s:g} s")
            data = os.read(self._process.stdout.fileno(), 1 << 20)
            if not data:
                raise AssertionError("the reading process died")
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return Answer(**json.loads(line))

    def get(self, do: str, *, timeout_s: float = ANSWER_S, **fields: Any) -> Any:
        """As ``ask``, for what must succeed: the value."""
        answer = self.ask(do, timeout_s=timeout_s, **fields)
        assert not answer.error, f"{do} {fields}: {answer.error} after {answer.seconds:.2f} s"
        return answer.value

    def digest(self, path: Path | str, *, timeout_s: float = ANSWER_S) -> str:
        """SHA-256 of a whole file, read from its beginning to its end."""
        value = self.get("digest", path=path, timeout_s=timeout_s)
        assert isinstance(value, str)
        return value

    def wait_for_digest(self, path: Path | str, digest: str, *, timeout_s: float = 20.0) -> None:
        """Reads a file again and again until it can be read and is the right one: a failure is remembered for a moment."""
        until = time.monotonic() + timeout_s
        while (answer := self.ask("digest", path=path)).value != digest:
            assert time.monotonic() < until, f"not within {timeout_s:g} s: {path} can be read; the last answer is {answer}"
            time.sleep(_PAUSE_S)


def end_or_leave(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process and waits a moment for it; one that the kernel does not let go yet is left to end with its mount."""
    process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        _left_behind.append(process)


def wait_for_left_behind(timeout_s: float = 10.0) -> None:
    """Waits for those that were left behind: called once their mounts are gone."""
    while _left_behind:
        _left_behind.pop().wait(timeout_s)


_left_behind: "list[subprocess.Popen[bytes]]" = []


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}


class _Reading:
    """What the process does: one method per request, its fields as arguments."""

    def digest(self, path: str) -> str:
        sha256 = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while data := file.read(_STEP_BYTES):
                sha256.update(data)
        return sha256.hexdigest()

    def read(self, path: str, offset: int, size: int) -> dict[str, Any]:
        """Size and SHA-256 of a part, through a descriptor of its own."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return self.read_open(descriptor, offset, size)
        finally:
            os.close(descriptor)

    def read_open(self, descriptor: int, offset: int, size: int) -> dict[str, Any]:
        data = bytearray()
        while len(data) < size and (more := os.pread(descriptor, size - len(data), offset + len(data))):
            data += more
        return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def text(self, path: str) -> str:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def open(self, path: str) -> int:
        return os.open(path, os.O_RDONLY)

    def write(self, path: str) -> None:
        os.close(os.open(path, os.O_WRONLY))

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def forget_pages(self, path: str) -> None:
        """Lets the kernel drop what it holds of a file."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    def stat(self, path: str) -> dict[str, Any]:
        found = os.stat(path)
        return {name: getattr(found, name) for name in ("st_size", "st_mode", "st_mtime", "st_ino", "st_uid", "st_blocks")}

    def names(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def statvfs(self, path: str) -> int:
        return os.statvfs(path).f_namemax

    def xattr(self, path: str, name: str) -> str:
        return os.getxattr(path, name).decode("utf-8", "surrogateescape")

    def xattrs(self, path: str) -> list[str]:
        return sorted(os.listxattr(path))

    def mapped(self, path: str, parts: list[list[int]]) -> list[str]:
        """SHA-256 of parts (offset, size), read through a mapping."""
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
            return [hashlib.sha256(mapping[offset : offset + size]).hexdigest() for offset, size in parts]

    def compare(self, *, path: str, local: str, seed: int, threads: int, reads: int, most: int) -> list[list[int]]:
        """Random reads by several threads, each with a descriptor of its own: those (offset, size) that differ from ``local``."""
        wrong: list[list[int]] = []
        size = os.stat(local).st_size
        with open(local, "rb") as model:

            def read(number: int) -> None:
                chance = random.Random(seed * threads + number)
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    for _ in range(reads):
                        offset = chance.choice(
                            (chance.randrange(size), chance.randrange(size), max(0, size - chance.randrange(most)))
                        )
                        length = max(1, int(most ** chance.uniform(0.0, 1.0)))  # small ones as often as large ones
                        if os.pread(descriptor, length, offset) != os.pread(model.fileno(), length, offset):
                            wrong.append([offset, length])
                finally:
                    os.close(descriptor)

            _run_threads([partial(read, number) for number in range(threads)])
        return wrong

    def compare_while_there(self, *, path: str, local: str, seed: int, threads: int, most: int, seconds: float) -> dict[str, Any]:
        """As ``compare``, until a read fails or time is over: how many reads there were, and those that differ.

        The kernel forgets the pages that were read, so that who serves them is asked again.
        """
        wrong: list[list[int]] = []
        reads = [0] * threads
        size = os.stat(local).st_size
        until = time.monotonic() + seconds
        with open(local, "rb") as model:

            def read(number: int) -> None:
                chance, descriptor = random.Random(seed * threads + number), -1
                try:
                    descriptor = os.open(path, os.O_RDONLY)
                    while time.monotonic() < until:
                        length = chance.randint(1, most)
                        offset = chance.randrange(size - length)
                        data = os.pread(descriptor, length, offset)
                        right = os.pread(model.fileno(), length, offset)
                        if not right.startswith(data):
                            wrong.append([offset, length])
                        elif len(data) < length:  # a read that fails in the middle is short first
                            os.pread(descriptor, length - len(data), offset + len(data))
                            wrong.append([offset + len(data), 0])
                        reads[number] += 1
                        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)
                except OSError:
                    pass  # whoever serves it is gone
                finally:
                    with suppress(OSError):  # as above, or it never was open
                        os.close(descriptor)

            _run_threads([partial(read, number) for number in range(threads)])
        return {"reads": sum(reads), "wrong": wrong}

    def together(self, path: str, threads: int) -> list[str]:
        """The digests that so many readers get who begin at once; half of them pass by the page cache."""
        barrier = threading.Barrier(threads)
        digests: list[str] = []

        def read(flags: int) -> None:
            barrier.wait()
            sha256, buffer = hashlib.sha256(), mmap.mmap(-1, _STEP_BYTES // 2)
            descriptor = os.open(path, os.O_RDONLY | flags)
            try:
                while count := os.readv(descriptor, [buffer]):
                    sha256.update(memoryview(buffer)[:count])
            finally:
                os.close(descriptor)
            digests.append(sha256.hexdigest())

        _run_threads([partial(read, (0, os.O_DIRECT)[number % 2]) for number in range(threads)])
        return digests


def _run_threads(works: list[Callable[[], None]]) -> None:
    """Runs all at once; raises the first error."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _serve() -> None:
    reading = _Reading()
    for line in sys.stdin:
        fields = json.loads(line)
        began = time.monotonic()
        error, value = "", None
        try:
            value = getattr(reading, fields.pop("do"))(**fields)
        except OSError as failure:
            error = errno.errorcode.get(failure.errno or 0, str(failure))
        print(json.dumps({"error": error, "seconds": time.monotonic() - began, "value": value}), flush=True)


if __name__ == "__main__":
    _serve()
