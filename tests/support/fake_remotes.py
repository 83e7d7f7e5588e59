"""``Remotes`` over a local directory: hosts are its first level, and every fault of the real ones can be planted."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.errors import NotFound
from flyfs.core.grid import MIB, piece_size_for
from flyfs.core.remote import Entry, EntryKind, Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.fs.figures import Space

_BUFFER = memoryview(bytearray(MIB))


@dataclass(slots=True, kw_only=True)
class FakeFigures:
    have_pieces: int = 0
    came_pieces: int = 0
    origin_bytes: int = 0
    peer_bytes: int = 0
    supernode_bytes: int = 0
    digest: str | None = None


class FakeBlob:
    """An open local file; ``path`` may be replaced, the descriptor keeps the version."""

    def __init__(self, blob: Blob, path: Path, remotes: "FakeRemotes") -> None:
        self.blob = blob
        self.closed = False
        self._name = path.name
        self._descriptor = os.open(path, os.O_RDONLY)
        self._remotes = remotes
        self._figures = FakeFigures(have_pieces=len(blob.grid), origin_bytes=blob.size)
        remotes.open_blobs += 1

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        if self._name in self._remotes.slow_reads or self._name in self._remotes.read_errors:
            return None
        return _BUFFER[: os.preadv(self._descriptor, [_BUFFER[:size]], offset)]

    async def read(self, offset: int, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        self._remotes.asked["read", self._name] += 1
        if self._name in self._remotes.read_errors:
            raise self._remotes.read_errors[self._name]
        while self._name in self._remotes.slow_reads:
            await self._remotes.changed.wait()
        return os.pread(self._descriptor, size, offset)

    def figures(self) -> FakeFigures:
        self._figures.have_pieces = self._remotes.have_pieces.get(self._name, len(self.blob.grid))
        self._figures.came_pieces = self._remotes.came_pieces.get(self._name, 0)
        self._figures.digest = self._remotes.digests.get(self._name)
        return self._figures

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self._remotes.open_blobs -= 1
        os.close(self._descriptor)


class FakeRemotes:
    """Knows the files below ``root/HOST``. Names in the sets and mappings are last path components."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: Counter[tuple[str, str]] = Counter()
        """How often (stat, list, open or read; what)."""
        self.errors: dict[str, Exception] = {}
        """What stat and list raise for a name."""
        self.everything: Exception | None = None
        """What all questions raise: nobody can be asked."""
        self.read_errors: dict[str, Exception] = {}
        self.slow_stats: set[str] = set()
        self.slow_reads: set[str] = set()
        self.without_length: set[str] = set()
        """Files whose origin gives no length: known only once somebody pinned them."""
        self.hidden: set[str] = set()
        """Names that listings leave out."""
        self.have_pieces: dict[str, int] = {}
        self.came_pieces: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.lists_sizes = True
        self.lists_times = True
        self.exact_times = True
        self.age_s = 0.0
        self.open_blobs = 0
        self.stats_at_once = 0
        self.most_stats_at_once = 0
        self.latency_s = 0.0
        self.changed = trio.Event()

    def let_go(self) -> None:
        """Ends all waiting."""
        self.slow_stats.clear()
        self.slow_reads.clear()
        self.changed.set()
        self.changed = trio.Event()

    def path_of(self, url: RemoteUrl) -> Path:
        name = "/".join(segment for segment in url.segments if segment)
        return self.root / url.authority / (f"{name}?{url.query}" if url.query else name)

    async def stat(
        self, url: RemoteUrl, *, max_age_s: float, read: bool = False, pin: bool = False
    ) -> RemoteFile | RemoteDirectory:
        path = self.path_of(url)
        self.asked["stat", path.name] += 1
        with self._one_more():
            await self._wait(path.name)
        if not path.exists():
            raise NotFound(f"no {url}")
        if path.is_dir():
            return RemoteDirectory(age_s=self._age(max_age_s))
        status = path.stat()
        modified_s = int(status.st_mtime)
        if path.name in self.without_length and not pin:
            return RemoteFile(blob=None, modified_s=modified_s, age_s=self._age(max_age_s))
        blob = Blob(
            url=str(url),
            principal="public",
            validator=Validator(ValidatorKind.ETAG, f'"{status.st_mtime_ns}-{status.st_ino}"'),
            size=status.st_size,
            generation=0,
            piece_size=piece_size_for(status.st_size),
        )
        return RemoteFile(blob=blob, modified_s=modified_s, age_s=self._age(max_age_s))

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        path = self.path_of(url)
        self.asked["list", path.name] += 1
        await self._wait(path.name)
        if not path.is_dir():
            raise NotFound(f"no {url}")
        entries = tuple(self._entry(entry) for entry in sorted(os.scandir(path), key=lambda entry: entry.name))
        shown = tuple(entry for entry in entries if entry.name not in self.hidden)
        return Listing(entries=shown, skipped=0, age_s=self._age(max_age_s))

    async def open(self, file: RemoteFile) -> FakeBlob:
        await trio.lowlevel.checkpoint()
        assert file.blob is not None
        path = self.path_of(parse_url(file.blob.url))
        self.asked["open", path.name] += 1
        return FakeBlob(file.blob, path, self)

    def _entry(self, entry: os.DirEntry[str]) -> Entry:
        name, _, query = entry.name.partition("?")
        status = entry.stat()
        modified_s = int(status.st_mtime) if self.exact_times else int(status.st_mtime) // 60 * 60
        return Entry(
            name=name,
            kind=EntryKind.DIRECTORY if entry.is_dir() else EntryKind.FILE,
            size=status.st_size if self.lists_sizes and entry.name not in self.without_length else None,
            modified_s=modified_s if self.lists_times else None,
            modified_exact=self.lists_times and self.exact_times,
            query=query,
        )

    async def _wait(self, name: str) -> None:
        await trio.sleep(self.latency_s)
        while name in self.slow_stats:
            await self.changed.wait()
        if self.everything is not None:
            raise self.everything
        if name in self.errors:
            raise self.errors[name]

    def _age(self, max_age_s: float) -> float:
        return min(self.age_s, max_age_s)

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        self.stats_at_once += 1
        self.most_stats_at_once = max(self.most_stats_at_once, self.stats_at_once)
        try:
            yield
        finally:
            self.stats_at_once -= 1


class FakeDaemonFigures:
    """``Figures`` with countable answers."""

    def __init__(self) -> None:
        self.renderings = 0

    def status(self) -> dict[str, object]:
        self.renderings += 1
        return {"version": "0.1.0", "role": "peer", "renderings": self.renderings}

    def supernodes(self) -> list[str]:
        return ["127.0.0.1:7400 up"]

    def peers(self) -> list[str]:
        return []

    def space(self) -> Space:
        return Space(total_bytes=1 << 30, free_bytes=1 << 29)
