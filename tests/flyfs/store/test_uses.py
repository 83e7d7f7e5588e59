"""Who uses a blob: what may go, and what not."""

from flyfs.store.uses import Use, Uses


class Blob:
    def __init__(self) -> None:
        self.uses = Uses()

    def begin(self, *pieces: int, **how: object) -> Use:
        use = Use(self, range(*pieces) if pieces else range(0), **how)  # type: ignore[arg-type]
        self.uses.begin(use)
        return use

    def use_ended(self, use: Use) -> None:
        self.uses.end(use)


def test_the_first_user_and_the_last_are_told_apart_from_others() -> None:
    blob = Blob()
    first, second = Use(blob, range(0)), Use(blob, range(0))

    assert [blob.uses.begin(first), blob.uses.begin(second)] == [True, False]
    assert bool(blob.uses)
    assert [blob.uses.end(second), blob.uses.end(first)] == [False, True]
    assert not blob.uses


def test_a_use_ends_once_however_often_it_is_ended() -> None:
    blob = Blob()
    with blob.begin() as use:
        assert blob.uses.block_eviction
    use.end()

    assert not blob.uses


def test_whoever_only_keeps_a_blob_open_does_not_keep_it_here() -> None:
    blob = Blob()
    blob.begin(blocks_eviction=False)

    assert (bool(blob.uses), blob.uses.block_eviction) == (True, False)
    blob.begin()
    assert blob.uses.block_eviction


def test_the_pieces_that_somebody_is_in_and_those_that_somebody_will_want() -> None:
    blob = Blob()
    windows = [range(7, 9)]
    first, second = blob.begin(2, 5), blob.begin(4, 6)
    reader = blob.begin(ahead=lambda: windows)

    assert (blob.uses.pieces(), blob.uses.pieces_ahead()) == ([range(2, 5), range(4, 6)], [range(7, 9)])
    windows.append(range(1))
    first.end()
    assert (blob.uses.pieces(), blob.uses.pieces_ahead()) == ([range(4, 6)], [range(7, 9), range(1)])
    reader.end()
    second.end()
    assert (blob.uses.pieces(), blob.uses.pieces_ahead()) == ([], [])
