from collections.abc import Iterator
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.errors import LocalProtocolError, RemoteProtocolError
from flyfs.wire.codec import MAX_FRAME_BYTES, Envelope, FrameDecoder, body_length, encode
from flyfs.wire.messages import Busy, DirectoryFound, Done, Failed, Have, Holdings, Leave, Message, Piece, Ping
from tests.flyfs.wire.samples import BATCH, BLOB_ID, SAMPLES


def frame_of(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def packed(*values: object) -> bytes:
    return frame_of(msgpack.packb(list(values), unicode_errors="surrogateescape"))


def decoded(*chunks: bytes) -> Iterator[Envelope]:
    decoder = FrameDecoder()
    for chunk in chunks:
        decoder.feed(chunk)
        while (envelope := decoder.next_message()) is not None:
            yield envelope


def refused(*chunks: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as error:
        list(decoded(*chunks))
    return error.value.message


ALL = b"".join(encode(message, number) for number, message in enumerate(SAMPLES))
ENVELOPES = [Envelope(number, message) for number, message in enumerate(SAMPLES)]


def test_all_messages_fed_whole() -> None:
    assert list(decoded(ALL)) == ENVELOPES


def test_all_messages_fed_byte_by_byte() -> None:
    assert list(decoded(*(ALL[at : at + 1] for at in range(len(ALL))))) == ENVELOPES


@given(st.lists(st.integers(0, len(ALL)), max_size=20))
def test_all_messages_fed_in_any_slices(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(ALL)]
    slices = [memoryview(ALL)[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]  # noqa: RUF007 - as slices
    decoder, found = FrameDecoder(), []
    for one in slices:
        decoder.feed(one)
        while (envelope := decoder.next_message()) is not None:
            found.append(envelope)
    assert found == ENVELOPES


def test_bytes_behind_a_piece_are_handed_back_and_no_more_than_asked_for() -> None:
    piece = Piece(piece=0, length=5, proof=None)
    decoder = FrameDecoder()
    decoder.feed(encode(piece, 1) + b"hello" + encode(Done(), 3))
    assert decoder.next_message() == Envelope(1, piece)
    assert (decoder.take_rest(2), decoder.take_rest(3)) == (b"he", b"llo")
    assert decoder.next_message() == Envelope(3, Done())
    assert decoder.take_rest(100) == b""


def test_only_a_piece_is_followed_by_raw_bytes() -> None:
    assert {type(message): body_length(message) for message in SAMPLES if body_length(message)} == {Piece: 37_856}


@pytest.mark.parametrize("rest", [b"", b"\0", b"\0\0\0"])
def test_half_a_length_is_waited_for(rest: bytes) -> None:
    assert list(decoded(rest)) == []


@pytest.mark.parametrize(("data", "message"), [
    (bytes(4), "a frame of 0 bytes"),
    ((MAX_FRAME_BYTES + 1).to_bytes(4, "big"), "a frame of 131073 bytes"),
    (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
    (b"GET / HTTP/1.1\r\n\r\n", "a frame of 1195725856 bytes"),
    (b"\x16\x03\x01\x02\x00\x01", "a frame of 369295618 bytes"),  # a TLS ClientHello
    (frame_of(b"\xc1"), "no msgpack"),
    (frame_of(b"\x93\x01"), "no msgpack"),
    (frame_of(b"\x93\x01\x00\x90\x00"), "no msgpack"),  # bytes left over inside the frame
    (frame_of(b"\xdd\xff\xff\xff\xff"), "no msgpack"),  # an array that claims 2^32 items
    (frame_of(b"\xdb\xff\xff\xff\xff"), "no msgpack"),
    (frame_of(b"\x91" * 100_000), "no msgpack"),
    (frame_of(b"\x93\x04\x00\x91" + b"\x81\x01\x02"), "no msgpack"),  # a map
    (frame_of(b"\x93\x04\x00\xd4\x05\x00"), "no msgpack"),  # an extension
    (frame_of(b"\x93\x04\x00\xd6\xff\x00\x00\x00\x00"), "no msgpack"),  # a time stamp
    (frame_of(b"\xc0"), "no [code"),
    (frame_of(b"\x80"), "no [code"),
    (packed(), "no [code"),
    (packed(4), "no [code"),
    (packed(4, 0), "no [code"),
    (packed("4", 0, []), "no [code"),
    (packed(4, 0, None), "no [code"),
    (packed(4, 0, {}), "no [code"),
    (packed(4, -1, []), "no [code"),
    (packed(4, 1 << 63, []), "no [code"),
    (packed(4, 1.0, []), "no [code"),
    (packed(True, 0, []), "no [code"),
    (packed(4, False, []), "no [code"),
])  # fmt: skip
def test_hostile_frames_are_refused(data: bytes, message: str) -> None:
    assert message in refused(data)


@pytest.mark.parametrize(("data", "message"), [
    (packed(33, 1, []), "a bad Busy: Busy: not an array of at least 1"),
    (packed(33, 1, [-1]), "Busy.retry_after_s: not a number from 0 on"),
    (packed(33, 1, [float("nan")]), "Busy.retry_after_s"),
    (packed(33, 1, [float("inf")]), "Busy.retry_after_s"),
    (packed(33, 1, [1e18]), "Busy.retry_after_s"),
    (packed(33, 1, ["1"]), "Busy.retry_after_s"),
    (packed(33, 1, [True]), "Busy.retry_after_s"),
    (packed(23, 0, ["ab" * 31]), "Leave.blob_id: not a blob id"),
    (packed(23, 0, ["../" + "a" * 61]), "Leave.blob_id: not a blob id"),
    (packed(23, 0, [b"ab" * 32]), "Leave.blob_id: not a text"),
    (packed(24, 0, [BLOB_ID, [[0]]]), "Have.runs[0]: not an array of 2"),
    (packed(24, 0, [BLOB_ID, [[0, 1, 2]]]), "Have.runs[0]: not an array of 2"),
    (packed(24, 0, [BLOB_ID, [[0, -1]]]), "Have.runs[0][1]: not an unsigned integer"),
    (packed(24, 0, [BLOB_ID, 5]), "Have.runs: not an array"),
    (packed(24, 0, [BLOB_ID, [], 1]), "Have.durable: not a boolean"),
    (packed(26, 1, ["", b""]), "Holdings.have: not bytes"),
    (packed(3, 1, ["x" * 16_385, ""]), "Failed.kind: not a text of at most 16384 characters"),
    (packed(31, 1, [0, 5, ["ab" * 32, 0, b"x", b"", b""]]), "not a digest batch: 1 bytes"),
    (packed(11, 1, [["u", "p", ["best", ""], 1, 0, 1], None, 0, False]), "not one of digest, etag, modified, none"),
    (packed(11, 1, [["u", "p", ["etag", ""], 1, 1, 1], None, 0, False]), "FileFound.blob: a blob with a strong validator"),
    (packed(11, 1, [["u", "p", ["none", ""], 1 << 63, 1, 1], None, 0, False]), "more than a blob may have"),
    (packed(11, 1, [["u", "p", ["none", ""], 0, 1, 0], None, 0, False]), "not a grid"),
    (frame_of(b"\x93\x17\x00\x91\xc7\x00\x05"), "Leave.blob_id: not a text"),  # an empty extension
    (frame_of(b"\x93\x17\x00\x91\x80"), "Leave.blob_id: not a text"),  # an empty map
])  # fmt: skip
def test_fields_that_do_not_fit_are_refused_by_name(data: bytes, message: str) -> None:
    assert message in refused(data)


def test_a_message_of_an_unknown_code_is_skipped() -> None:
    later = packed(99, 7, ["from", {}, 1 << 63])
    data = later + encode(Done(), 1) + later + later + encode(Ping(), 3)
    assert list(decoded(data)) == [Envelope(1, Done()), Envelope(3, Ping())]


def test_longer_arrays_are_accepted_and_missing_trailing_fields_have_their_defaults() -> None:
    assert list(decoded(packed(12, 1, [0.5, "new", [1]], "newer"))) == [Envelope(1, DirectoryFound(age_s=0.5))]
    assert list(decoded(packed(3, 1, ["stale", "over"]))) == [Envelope(1, Failed(kind="stale", message="over"))]


def test_texts_that_are_no_utf_8_survive() -> None:
    message = Failed(kind="stale", message="caf\udce9")
    assert list(decoded(encode(message))) == [Envelope(0, message)]


def test_the_largest_frame_fits_and_one_byte_more_does_not() -> None:
    around_bytes = len(encode(Holdings(have=bytes(70_000), durable=b""))) - 4 - 70_000
    most = MAX_FRAME_BYTES - around_bytes
    frame = encode(Holdings(have=bytes(most), durable=b""))
    assert len(frame) == 4 + MAX_FRAME_BYTES
    assert len(list(decoded(frame))) == 1
    with pytest.raises(LocalProtocolError, match="a Holdings of 131073 bytes does not fit"):
        encode(Holdings(have=bytes(most + 1), durable=b""))


@pytest.mark.parametrize("message", [
    Failed(kind="stale", message="\ud800"),
    Have(blob_id=BLOB_ID, runs=((0, 1 << 64),)),
    Leave(blob_id=object()),
])  # fmt: skip
def test_what_has_no_form_on_the_wire_is_our_fault(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="that cannot be sent"):
        encode(message)


@given(st.binary(max_size=200))
def test_garbage_is_a_message_or_refused_but_nothing_else(body: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(frame_of(body))
    with suppress(RemoteProtocolError):
        decoder.next_message()


@given(st.sampled_from(SAMPLES), st.data())
def test_a_flipped_bit_is_a_message_or_refused_but_nothing_else(message: Message, data: st.DataObject) -> None:
    frame = bytearray(encode(message, 5))
    bit = data.draw(st.integers(32, 8 * len(frame) - 1))
    frame[bit >> 3] ^= 1 << (bit & 7)
    decoder = FrameDecoder()
    decoder.feed(frame)
    with suppress(RemoteProtocolError):
        decoder.next_message()


def test_a_proof_travels_with_its_piece() -> None:
    (envelope,) = decoded(encode(Piece(piece=2, length=0, proof=BATCH), 1))
    assert isinstance(envelope.message, Piece)
    assert envelope.message.proof == BATCH
    assert list(decoded(encode(Busy(retry_after_s=1), 1))) == [Envelope(1, Busy(retry_after_s=1.0))]
