"""The order of writes against a model of a kernel and its disk, over every interleaving of its events.

The kernel keeps written pages in memory and may write any of them to the disk at any time, or never; a power cut keeps only
what a flush brought; a sync that fails leaves pages in memory that look clean, are not on the disk, and never will be.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flyfs.core.ids import BlobId, PieceIndex
from flyfs.store.write_commands import Command, FreePieces, MarkDurable, ProveAgain, StartWriteback, SyncBlob, UnmarkPieces
from flyfs.store.write_order import WriteOrder

A, B = BlobId("a" * 64), BlobId("b" * 64)
PIECES = 6
Key = tuple[BlobId, int]


@dataclass
class Disk:
    """Where the right bytes of each piece are."""

    memory: set[Key] = field(default_factory=set)  # in the page cache
    dirty: set[Key] = field(default_factory=set)  # of these, not written since
    volatile: set[Key] = field(default_factory=set)  # on the disk, until the power is cut
    stable: set[Key] = field(default_factory=set)  # on the disk for good

    def write_begins(self, key: Key) -> None:
        """Any mixture of old and new bytes may be anywhere from now on."""
        for where in (self.memory, self.dirty, self.volatile, self.stable):
            where.discard(key)

    def punched(self, keys: set[Key]) -> None:
        """At once or later, and a crash cannot bring the bytes back for certain."""
        for key in keys:
            self.write_begins(key)

    def written(self, key: Key) -> None:
        self.memory.add(key)
        self.dirty.add(key)

    def kernel_writes(self, keys: set[Key]) -> None:
        self.volatile |= keys
        self.dirty -= keys

    def sync(self, blob_id: BlobId) -> None:
        self.kernel_writes(self.of(blob_id, self.dirty))
        self.stable |= self.of(blob_id, self.volatile)

    def sync_fails(self, blob_id: BlobId) -> None:
        """What was not written by now never will be; it stays in memory, and looks clean."""
        self.dirty -= self.of(blob_id, self.dirty)

    def read_back(self, keys: set[Key]) -> set[Key]:
        """The right ones, past the page cache; dirty pages are written first."""
        self.kernel_writes(keys & self.dirty)
        self.memory -= keys
        return keys & (self.volatile | self.stable)

    def readable(self) -> set[Key]:
        return self.memory | self.volatile | self.stable

    @staticmethod
    def of(blob_id: BlobId, keys: set[Key]) -> set[Key]:
        return {key for key in keys if key[0] == blob_id}


class PowerCut(RuleBasedStateMachine):
    """Plays the shell. A cut at any moment leaves what is stable: all that is marked must be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.order = WriteOrder(batch_bytes=4, writeback_bytes=2)
        self.now = 0.0
        self.disk = Disk()
        self.writing: dict[Key, int] = {}  # → failed syncs since it began
        self.have: set[Key] = set()
        self.covered: set[Key] = set()  # by a sync that finished
        self.digests: set[Key] = set()
        self.durable: set[Key] = set()
        self.dropping: set[Key] = set()
        self.proofs: dict[Key, int] = {}  # how often it was proved since it was written
        self.running: Command | None = None
        self.at_begin: set[Key] = set()
        self.anew: set[Key] = set()  # begun since the command
        self.vouch(A, 0)

    # -- what happens to pieces -------------------------------------------------------------------------------------

    @rule(blob_id=st.sampled_from([A, B]), piece=st.integers(0, PIECES - 1))
    def start(self, blob_id: BlobId, piece: int) -> None:
        key = (blob_id, piece)
        if key not in self.have and key not in self.writing and key not in self.dropping:
            self.order.piece_started(blob_id, PieceIndex(piece))
            self.writing[key] = 0
            self.anew.add(key)
            self.proofs.pop(key, None)
            self.disk.write_begins(key)

    @rule(blob_id=st.sampled_from([A, B]), first=st.integers(0, PIECES - 1))
    def write(self, blob_id: BlobId, first: int) -> None:
        """Some pieces at once, so that runs and syncs are found often."""
        for piece in range(first, PIECES):
            if (blob_id, piece) not in {*self.have, *self.writing, *self.dropping}:
                self.start(blob_id, piece)
                self.end_of((blob_id, piece), whole=True)

    @precondition(lambda self: self.writing)
    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        self.end_of(data.draw(st.sampled_from(sorted(self.writing))), whole)

    def end_of(self, key: Key, whole: bool) -> None:
        failures = self.writing.pop(key)
        if not whole:
            self.order.piece_abandoned(key[0], PieceIndex(key[1]))
            return
        if failures:  # its pages may be among those that were lost
            self.disk.memory.add(key)
        else:
            self.disk.written(key)
        counts = self.order.piece_written(key[0], PieceIndex(key[1]), 1, self.now, provable=key in self.digests)
        assert counts == (failures == 0)
        if counts:
            self.have.add(key)
            self.covered.discard(key)

    @rule(blob_id=st.sampled_from([A, B]), first=st.integers(0, PIECES - 1))
    def vouch(self, blob_id: BlobId, first: int) -> None:
        self.digests |= {(blob_id, piece) for piece in range(first, PIECES)}
        self.order.digests_added(blob_id, range(first, PIECES), self.now)

    @rule(blob_id=st.sampled_from([A, B]), pieces=st.sets(st.integers(0, PIECES - 1), min_size=1))
    def let_go(self, blob_id: BlobId, pieces: set[int]) -> None:
        going = {(blob_id, piece) for piece in pieces} & self.have
        if going:
            self.order.pieces_dropped(blob_id, [PieceIndex(piece) for _, piece in going])
            self.have -= going
            self.dropping |= going

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.disk.dirty)
    @rule(data=st.data())
    def the_kernel_writes(self, data: st.DataObject) -> None:
        self.disk.kernel_writes(data.draw(st.sets(st.sampled_from(sorted(self.disk.dirty)))))

    # -- commands ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.running is None and self.order.next_deadline() < 1e9)
    @rule()
    def command_in_time(self) -> None:
        self.now = max(self.now, self.order.next_deadline())
        self.command()

    @rule()
    def command(self) -> None:
        before = self.order.next_deadline()
        commands = self.order.next_commands(self.now)
        if self.running is not None:
            assert not commands, "one at a time"
            return
        assert len(commands) <= 1
        for command in commands:
            assert before <= self.now
            self.begin(command)
        if self.running is None:
            assert self.order.next_deadline() > self.now

    def begin(self, command: Command) -> None:
        self.running = command
        self.anew = set()
        self.at_begin = Disk.of(command.blob_id, self.disk.dirty | self.disk.volatile | self.disk.stable)
        match command:
            case SyncBlob():
                assert self.keys_of(command) <= self.have & self.digests
            case MarkDurable():
                assert self.keys_of(command) <= self.covered
            case StartWriteback(blob_id=blob_id, first=first, stop=stop):
                keys = {(blob_id, piece) for piece in range(first, stop)}
                assert len(keys) >= 2
                assert keys <= self.have - self.covered
            case UnmarkPieces():
                assert self.keys_of(command) <= self.dropping
            case FreePieces():
                assert self.keys_of(command) <= self.dropping
                assert not self.keys_of(command) & self.durable, "no hole under a mark"
            case ProveAgain():
                assert not self.keys_of(command) & (self.have | set(self.writing))
                assert self.keys_of(command) <= self.digests
                assert 0 < len(command.pieces) <= 4

    @staticmethod
    def keys_of(command: SyncBlob | MarkDurable | ProveAgain | UnmarkPieces | FreePieces) -> set[Key]:
        return {(command.blob_id, int(piece)) for piece in command.pieces}

    @precondition(lambda self: self.running is not None)
    @rule(fails=st.booleans())
    def finish(self, fails: bool) -> None:
        command, self.running = self.running, None
        assert command is not None
        blob_id = command.blob_id
        match command:
            case SyncBlob() | StartWriteback() if fails:
                self.disk.sync_fails(blob_id)
                lost = {(blob_id, int(piece)) for piece in self.order.sync_failed(blob_id)}
                assert lost == Disk.of(blob_id, self.have) - self.covered
                self.have -= lost
                for key in self.writing:
                    if key[0] == blob_id:
                        self.writing[key] += 1
            case SyncBlob():
                assert self.keys_of(command) <= self.at_begin
                self.disk.sync(blob_id)
                # Only what the sync was asked for counts: what nobody vouched for then waits for a sync of its own.
                self.covered |= self.keys_of(command) - self.dropping
                self.order.sync_finished(blob_id)
            case UnmarkPieces() if fails:
                self.order.unmark_failed(blob_id)
                keys = self.keys_of(command)
                self.have |= keys & self.durable  # what is sound is held again
                self.covered -= keys - self.durable
                self.dropping -= keys
            case UnmarkPieces():
                self.durable -= self.keys_of(command)
                self.order.unmark_finished(blob_id)
            case FreePieces():
                keys = self.keys_of(command)
                self.disk.punched(keys)
                self.covered -= keys
                self.dropping -= keys
                self.order.free_ended(blob_id)
            case MarkDurable() if fails:
                self.order.mark_failed(blob_id, self.now)
            case MarkDurable():
                self.durable |= self.keys_of(command)
                self.order.mark_finished(blob_id)
            case StartWriteback():
                self.order.writeback_started(blob_id)
            case ProveAgain():
                self.prove(command)

    def prove(self, command: ProveAgain) -> None:
        found = self.disk.read_back(self.keys_of(command))
        right = found - self.anew
        again = self.order.pieces_proved(command.blob_id, [PieceIndex(piece) for _, piece in sorted(found)], self.now)
        assert {(command.blob_id, int(piece)) for piece in again} == right
        for key in right:
            self.proofs[key] = self.proofs.get(key, 0) + 1
            assert self.proofs[key] == 1, "proved twice without having been written or synced"
        self.have |= right

    @precondition(lambda self: self.running is not None)
    @rule()
    def drop(self) -> None:
        """The blob of the running command goes; the shell still reports the command's end."""
        command, self.running = self.running, None
        assert command is not None
        self.order.blob_dropped(command.blob_id)
        disk = self.disk
        for keys in (
            *(self.have, self.covered, self.digests, self.durable, self.dropping),
            *(disk.memory, disk.dirty, disk.volatile, disk.stable),
        ):
            keys.difference_update(Disk.of(command.blob_id, keys))
        self.writing = {key: seen for key, seen in self.writing.items() if key[0] != command.blob_id}
        self.proofs = {key: count for key, count in self.proofs.items() if key[0] != command.blob_id}
        match command:
            case SyncBlob():
                self.order.sync_finished(command.blob_id)
            case MarkDurable():
                self.order.mark_finished(command.blob_id)
            case StartWriteback():
                self.order.writeback_started(command.blob_id)
            case UnmarkPieces():
                self.order.unmark_finished(command.blob_id)
            case FreePieces():
                self.order.free_ended(command.blob_id)
            case ProveAgain(pieces=pieces):
                assert self.order.pieces_proved(command.blob_id, pieces, self.now) == ()

    # -- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def a_power_cut_leaves_all_that_is_marked(self) -> None:
        assert self.durable <= self.disk.stable

    @invariant()
    def what_is_held_can_be_read(self) -> None:
        assert self.have <= self.disk.readable()

    @invariant()
    def bytes_add_up(self) -> None:
        assert self.order.unsynced_bytes == len((self.have & self.digests) - self.covered)

    def teardown(self) -> None:
        if self.running is not None:
            self.finish(fails=False)
        self.order.flush_requested()
        for _ in range(50):
            for command in self.order.next_commands(self.now):
                self.begin(command)
                self.finish(fails=False)
        assert self.order.flushed
        assert not self.dropping
        assert self.durable == self.have & self.digests
        assert self.durable <= self.disk.stable


TestPowerCut = pytest.mark.timeout(300)(PowerCut.TestCase)
TestPowerCut.settings = settings(max_examples=200, stateful_step_count=80, deadline=None)
