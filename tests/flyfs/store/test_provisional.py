from flyfs.core.ids import PieceIndex
from flyfs.core.manifest import piece_digest
from flyfs.store.provisional import Provisional
from tests.support.builders import KEY, a_blob_id

ONE, TWO, THREE, FOUR = map(PieceIndex, range(1, 5))


def test_signed_digests_tell_the_right_ones_from_the_wrong_and_leave_the_others() -> None:
    provisional = Provisional()
    for piece in (ONE, TWO, THREE, FOUR):
        provisional.piece_came(piece, piece_digest(bytes([piece])))
    batch = KEY.sign(a_blob_id(), 2, piece_digest(b"\2") + piece_digest(b"other"))

    assert provisional.vouched(batch) == ([TWO], [THREE])
    assert list(provisional) == [ONE, FOUR]
    assert len(provisional) == 2
    assert provisional.vouched(batch) == ([], [])


def test_one_that_is_gone_is_nobodys_business() -> None:
    provisional = Provisional()
    provisional.piece_came(ONE, piece_digest(b"\1"))
    assert ONE in provisional
    provisional.piece_gone(ONE)
    provisional.piece_gone(TWO)

    assert ONE not in provisional
    assert not provisional
