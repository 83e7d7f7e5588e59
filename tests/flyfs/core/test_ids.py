import pytest

from flyfs.core.ids import blob_id, peer_id


def test_well_formed_ids_pass() -> None:
    assert blob_id("0123456789abcdef" * 4) == "0123456789abcdef" * 4
    assert peer_id("0123456789abcdef" * 2) == "0123456789abcdef" * 2


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "../" + "a" * 61, "\u0661" * 64])
def test_what_is_no_blob_id_never_becomes_a_path(text: str) -> None:
    with pytest.raises(ValueError, match="not a blob id"):
        blob_id(text)


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "A" * 32, "a" * 32 + "\n"])
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a peer id"):
        peer_id(text)
