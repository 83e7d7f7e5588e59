"""Which disks a power cut may leave, and that no promise is asked of any other."""

import random
from pathlib import Path

import pytest

from tests.torture.device_log import (
    SECTOR_BYTES,
    Entry,
    Flush,
    Mark,
    State,
    Write,
    choose_states,
    decode_log,
    encode_flush,
    encode_mark,
    encode_write,
    unsure_writes_of,
)
from tests.torture.lost_writes import Rebuilder, Recording

A, B, C = (Write(at * 4096, bytes([at + 1]) * 1536) for at in range(3))
LOG: list[Entry] = [A, Flush(), B, Mark("b was written"), C, Flush()]


def test_a_log_comes_back_as_it_was_told() -> None:
    data = encode_write(A.offset, A.data) + encode_flush() + encode_mark(b"one\ntwo\n")

    assert list(decode_log(data)) == [A, Flush(), Mark("one"), Mark("two")]


@pytest.mark.parametrize("missing", [1, 3, 1540])
def test_a_torn_log_is_refused(missing: int) -> None:
    with pytest.raises(ValueError, match="ends within a record"):
        list(decode_log(encode_write(A.offset, A.data)[:-missing]))


def test_what_was_flushed_is_kept_and_what_came_later_may_be_lost() -> None:
    states = choose_states(LOG, 400, random.Random(1))

    assert {state.stop for state in states} == set(range(len(LOG) + 1)), "cuts at every place"
    for state in states:
        flushed = [index for index in range(state.stop) if LOG[index] == Flush()]
        assert state.stable_stop == (flushed[-1] + 1 if flushed else 0)
        unsure = [index for index in range(state.stable_stop, state.stop) if isinstance(LOG[index], Write)]
        assert set(state.kept) <= set(unsure)
    assert {state.kept for state in states if state.stop == 5} == {(), (2,), (4,), (2, 4)}


def test_the_same_seed_gives_the_same_disks() -> None:
    assert choose_states(LOG, 50, random.Random(3)) == choose_states(LOG, 50, random.Random(3))


def test_only_the_last_write_is_torn_and_only_between_sectors() -> None:
    states = [state for state in choose_states(LOG, 400, random.Random(2)) if state.torn_sectors is not None]

    assert {len(state.torn_sectors or ()) for state in states} == {0, 1, 2, 3}
    for state in states:
        whole = state.kept[:-1]
        writes = list(unsure_writes_of(LOG, state))
        assert writes[: len(whole)] == [LOG[index] for index in whole]
        assert all(len(write.data) == SECTOR_BYTES for write in writes[len(whole) :])
        assert len(writes) == len(whole) + len(state.torn_sectors or ())


def test_a_rebuilt_disk_has_the_stable_writes_and_the_chosen_ones(tmp_path: Path) -> None:
    rebuilder = Rebuilder(Recording(bytes(4 * 4096), LOG))
    image = tmp_path / "disk"

    def disk(*there: Write) -> bytes:
        data = bytearray(4 * 4096)
        for write in there:
            data[write.offset : write.offset + len(write.data)] = write.data
        return bytes(data)

    rebuilder.build(State(stop=1, stable_stop=0, kept=(0,), torn_sectors=frozenset({1})), image)
    assert image.read_bytes() == disk(Write(512, A.data[512:1024]))
    rebuilder.build(State(stop=2, stable_stop=2, kept=()), image)
    assert image.read_bytes() == disk(A)
    rebuilder.build(State(stop=5, stable_stop=2, kept=(4,)), image)
    assert image.read_bytes() == disk(A, C)
    rebuilder.build(State(stop=5, stable_stop=2, kept=(2,)), image)
    assert image.read_bytes() == disk(A, B)
