from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.grid import MIB, ByteRange
from flyfs.swarm.window import BEHIND_BYTES, FIRST_WINDOW_BYTES, LAST_WINDOW_BYTES, MAX_STREAMS, ReadAhead, fitted

SIZE = 400 * MIB


def after(*reads: tuple[int, int], size: int = SIZE) -> ReadAhead:
    ahead = ReadAhead(size)
    for offset, length in reads:
        ahead.read_happened(offset, length)
    return ahead


def test_a_file_nobody_reads_has_no_windows() -> None:
    assert after().windows() == []


def test_a_read_at_the_start_is_taken_for_a_stream_at_once() -> None:
    ahead = ReadAhead(SIZE)

    assert ahead.read_happened(0, 4096)
    assert ahead.windows() == [ByteRange(4096, 4096 + FIRST_WINDOW_BYTES)]


def test_a_read_in_the_middle_is_taken_for_a_stream_with_its_second_read() -> None:
    ahead = ReadAhead(SIZE)

    assert not ahead.read_happened(10 * MIB, 4096)
    assert ahead.windows() == []
    assert ahead.read_happened(10 * MIB + 4096, 4096)
    assert ahead.windows() == [ByteRange(10 * MIB + 8192, 10 * MIB + 8192 + FIRST_WINDOW_BYTES)]


def test_a_window_grows_each_time_half_of_it_is_used_up_and_stops_at_its_bound() -> None:
    ahead = after((0, MIB))
    sizes = [len(ahead.windows()[0])]
    for offset in range(MIB, 200 * MIB, MIB):
        ahead.read_happened(offset, MIB)
        if len(ahead.windows()[0]) != sizes[-1]:
            sizes.append(len(ahead.windows()[0]))

    assert sizes == [MIB, 4 * MIB, 16 * MIB, 32 * MIB]
    assert sizes[-1] == LAST_WINDOW_BYTES


def test_the_kernels_reads_out_of_order_belong_to_one_stream_and_never_move_it_back() -> None:
    ahead = after((0, MIB), (2 * MIB, MIB))

    assert not ahead.read_happened(MIB, MIB)
    assert [window.start for window in ahead.windows()] == [3 * MIB]


def test_a_read_far_behind_is_another_stream() -> None:
    ahead = after((20 * MIB, MIB), (21 * MIB, MIB))

    assert not ahead.read_happened(22 * MIB - BEHIND_BYTES - 1, 1)
    assert [window.start for window in ahead.windows()] == [22 * MIB]


def test_the_stream_that_was_read_last_comes_first() -> None:
    ahead = after((0, MIB), (100 * MIB, MIB), (101 * MIB, MIB), (MIB, MIB))

    assert [window.start for window in ahead.windows()] == [2 * MIB, 102 * MIB]


def test_the_stream_that_was_read_longest_ago_is_forgotten() -> None:
    ahead = after(*((start * 40 * MIB + step * MIB, MIB) for start in range(MAX_STREAMS + 1) for step in range(2)))

    starts = [window.start // MIB // 40 for window in ahead.windows()]
    assert starts == list(range(MAX_STREAMS, 0, -1))


def test_a_stream_at_the_end_wants_nothing_more() -> None:
    assert after((0, MIB), (MIB, MIB), size=2 * MIB).windows() == []


def test_windows_end_with_the_file() -> None:
    assert after((0, 4096), size=8192).windows() == [ByteRange(4096, 8192)]


@given(
    size=st.integers(0, 100 * MIB),
    reads=st.lists(st.tuples(st.integers(0, 110 * MIB), st.integers(1, 4 * MIB)), max_size=40),
)
def test_windows_lie_in_the_file_and_are_never_empty_nor_too_many(size: int, reads: list[tuple[int, int]]) -> None:
    ahead = ReadAhead(size)
    for offset, length in reads:
        before = ahead.windows()
        moved = ahead.read_happened(offset, length)
        assert moved or sorted(map(str, ahead.windows())) == sorted(map(str, before)) or len(before) == MAX_STREAMS
        for window in ahead.windows():
            assert 0 < len(window) <= LAST_WINDOW_BYTES
            assert window.stop <= size
        assert len(ahead.windows()) <= MAX_STREAMS


def test_windows_are_cut_to_equal_shares_of_what_may_be_read_ahead() -> None:
    windows = [range(10, 20), range(50, 53), range(90, 99)]

    assert fitted(windows, 99) == windows
    assert fitted(windows, 12) == [range(10, 14), range(50, 53), range(90, 94)]
    assert fitted(windows, 2) == [range(10, 11), range(50, 51)]
    assert fitted(windows, 0) == []
    assert fitted([], 5) == []


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 30))), st.integers(0, 60))
def test_windows_that_are_cut_never_have_more_than_may_be(places: list[tuple[int, int]], most: int) -> None:
    windows = [range(start, start + length) for start, length in places]
    cut = fitted(windows, most)

    assert sum(map(len, cut)) <= most
    assert all(one.start == whole.start and one.stop <= whole.stop for one, whole in zip(cut, windows, strict=False))
