"""What was fetched ahead leaves memory when nobody reads it: tables, and a model that counts along."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flyfs.core.ids import PieceIndex
from flyfs.store.unread_pages import MOST_AT_ONCE, DropPages, UnreadPages


class ABlob:
    def __init__(self) -> None:
        self.unread: dict[PieceIndex, int] = {}


def came(pages: UnreadPages[ABlob], blob: ABlob, *pieces: int) -> None:
    for piece in pieces:
        pages.piece_came(blob, PieceIndex(piece))


def durable(pages: UnreadPages[ABlob], blob: ABlob, *pieces: int, now: float = 0.0, size: int = 1) -> None:
    pages.pieces_durable(blob, [(PieceIndex(piece), size) for piece in pieces], now)


def dropped(blob: ABlob, *runs: tuple[int, int]) -> DropPages[ABlob]:
    return DropPages(owner=blob, runs=runs)


def test_pieces_that_nobody_reads_leave_memory_a_minute_after_they_are_durable() -> None:
    pages, blob = UnreadPages[ABlob](keep_bytes=99), ABlob()
    came(pages, blob, 0, 1, 2, 5)
    assert (pages.next_deadline(), pages.next_commands(1e6)) == (math.inf, [])
    durable(pages, blob, 1, 0, 5, 7, now=10.0)

    assert (pages.next_deadline(), pages.next_commands(69.9)) == (70.0, [])
    assert pages.next_commands(70.0) == [dropped(blob, (0, 2), (5, 1))]
    assert (pages.next_deadline(), list(blob.unread)) == (math.inf, [2])


def test_pieces_that_are_read_or_sent_stay() -> None:
    pages, blob = UnreadPages[ABlob](keep_bytes=99), ABlob()
    came(pages, blob, 0, 1, 2)
    pages.piece_used(blob, PieceIndex(0))
    durable(pages, blob, 0, 1, 2)
    pages.piece_used(blob, PieceIndex(1))
    pages.piece_used(blob, PieceIndex(1))

    assert pages.next_commands(60.0) == [dropped(blob, (2, 1))]
    came(pages, blob, 4)
    durable(pages, blob, 4)
    pages.piece_used(blob, PieceIndex(4))
    assert pages.next_commands(60.0) == []


def test_more_than_may_wait_leaves_at_once_the_oldest_first() -> None:
    pages, a, b = UnreadPages[ABlob](keep_bytes=5), ABlob(), ABlob()
    came(pages, a, 0, 1, 2)
    came(pages, b, 0)
    durable(pages, a, 0, now=1.0, size=3)
    durable(pages, b, 0, now=2.0, size=2)
    assert (pages.next_deadline(), pages.next_commands(2.0)) == (61.0, [])
    durable(pages, a, 1, 2, now=3.0)

    assert pages.next_deadline() == -math.inf
    assert pages.next_commands(3.0) == [dropped(a, (0, 1))]
    assert (pages.next_deadline(), pages.next_commands(3.0)) == (62.0, [])


def test_a_blob_that_is_dropped_leaves_nothing_to_do() -> None:
    pages, blob = UnreadPages[ABlob](keep_bytes=5), ABlob()
    came(pages, blob, 0, 1)
    durable(pages, blob, 0, size=4)
    pages.blob_dropped(blob)

    assert pages.next_commands(60.0) == []
    other = ABlob()
    came(pages, other, 0)
    durable(pages, other, 0, size=5)
    assert pages.next_deadline() == 60.0  # the bytes of the other one are forgotten


def test_many_small_blobs_go_in_several_steps() -> None:
    pages = UnreadPages[ABlob](keep_bytes=1000)
    blobs = [ABlob() for _ in range(MOST_AT_ONCE + 3)]
    for blob in blobs:
        came(pages, blob, 0)
        durable(pages, blob, 0)

    assert [len(pages.next_commands(60.0)) for _ in range(3)] == [MOST_AT_ONCE, 3, 0]


class Reading(RuleBasedStateMachine):
    """Nothing that was used goes; what was not goes in time; the bytes that wait are counted exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = UnreadPages[ABlob](keep_bytes=6)
        self.blobs = [ABlob(), ABlob()]
        self.now = 0.0
        self.unread: dict[tuple[int, int], float | None] = {}  # → durable since

    keys = st.tuples(st.integers(0, 1), st.integers(0, 5))

    @rule(key=keys)
    def come(self, key: tuple[int, int]) -> None:
        if key not in self.unread:
            came(self.pages, self.blobs[key[0]], key[1])
            self.unread[key] = None

    @rule(key=keys)
    def use(self, key: tuple[int, int]) -> None:
        self.pages.piece_used(self.blobs[key[0]], PieceIndex(key[1]))
        self.unread.pop(key, None)

    @rule(blob=st.integers(0, 1), pieces=st.sets(st.integers(0, 5)))
    def sync(self, blob: int, pieces: set[int]) -> None:
        durable(self.pages, self.blobs[blob], *pieces, now=self.now)
        for piece in pieces:
            if self.unread.get((blob, piece), 0.0) is None:
                self.unread[blob, piece] = self.now

    @rule(blob=st.integers(0, 1))
    def drop_blob(self, blob: int) -> None:
        self.pages.blob_dropped(self.blobs[blob])
        self.unread = {key: since for key, since in self.unread.items() if key[0] != blob}

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def act(self) -> None:
        for command in self.pages.next_commands(self.now):
            blob = self.blobs.index(command.owner)
            for first, count in command.runs:
                for piece in range(first, first + count):
                    assert self.unread.pop((blob, piece)) is not None
        since = [at for at in self.unread.values() if at is not None]
        assert len(since) <= 6
        assert all(self.now < at + 60.0 for at in since)
        assert self.pages.next_deadline() > self.now

    @invariant()
    def both_know_the_same(self) -> None:
        assert {(at, int(piece)) for at, blob in enumerate(self.blobs) for piece in blob.unread} == set(self.unread)
        assert self.pages._bytes == sum(at is not None for at in self.unread.values())


TestReading = pytest.mark.timeout(300)(Reading.TestCase)
TestReading.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
