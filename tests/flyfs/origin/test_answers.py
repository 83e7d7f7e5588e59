import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyfs.core.blob import Validator, ValidatorKind
from flyfs.core.errors import Denied, FlyfsError, NotFound, Unavailable
from flyfs.core.grid import ByteRange
from flyfs.origin.answers import (
    Headers,
    OriginHead,
    VersionChanged,
    check_version,
    date_s,
    error_of,
    if_range_of,
    length_of,
    part_head,
    unsatisfied,
    unsatisfied_size,
    validator_of,
    whole_head,
)
from tests.flyfs.origin.origins import MODIFIED, MODIFIED_S, Version

NOTHING = Validator(ValidatorKind.NONE)
ETAG = Validator(ValidatorKind.ETAG, '"v"')
DATED = Validator(ValidatorKind.MODIFIED, MODIFIED)


def headers(**fields: str) -> Headers:
    return Headers((name.replace("_", "-"), value) for name, value in fields.items())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (MODIFIED, MODIFIED_S),
        ("Monday, 23-Nov-26 15:40:49 GMT", MODIFIED_S),
        ("Mon Nov 23 15:40:49 2026", MODIFIED_S),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 23 Foo 2026 15:40:49 GMT", None),
        ("yesterday", None),
        ("0", None),
        ("-1", None),
        ("", None),
        (None, None),
        ("Mon, 23 Nov 99999999999 15:40:49 GMT", None),
    ],
)
def test_dates_are_read_in_all_three_forms(text: str | None, seconds: int | None) -> None:
    assert date_s(text) == seconds


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_dates_and_headers(text: str) -> None:
    date_s(text)
    fields = headers(etag=text, last_modified=text, content_length=text, content_range=text, retry_after=text, accept_ranges=text)
    assert validator_of(fields).kind in (ValidatorKind.NONE, ValidatorKind.ETAG, ValidatorKind.MODIFIED)
    length_of(fields)
    unsatisfied_size(fields)
    error_of(503, fields, "p", now_s=0)


@pytest.mark.parametrize(
    ("etag", "kind"),
    [
        ('"abc"', ValidatorKind.ETAG),
        ('""', ValidatorKind.ETAG),
        ('"\xe9"', ValidatorKind.ETAG),
        ('W/"abc"', ValidatorKind.NONE),
        ('w/"abc"', ValidatorKind.NONE),
        ("abc", ValidatorKind.NONE),
        ('"a"b"', ValidatorKind.NONE),
        ('"a b"', ValidatorKind.NONE),
        ("", ValidatorKind.NONE),
    ],
)
def test_only_a_quoted_strong_etag_is_a_validator(etag: str, kind: ValidatorKind) -> None:
    assert validator_of(headers(etag=etag)).kind == kind


def test_two_different_values_of_a_field_are_none_and_two_equal_ones_are_one() -> None:
    assert validator_of(Headers([("ETag", '"a"'), ("etag", '"b"')])) == NOTHING
    assert validator_of(Headers([("ETag", '"a"'), ("etag", '"a"')])).value == '"a"'


def test_a_last_modified_that_is_no_date_is_no_validator() -> None:
    assert validator_of(headers(last_modified="today")) == NOTHING


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({"content_length": "5"}, 5),
        ({}, None),
        ({"content_length": "-5"}, None),
        ({"content_length": "5, 5"}, None),
        ({"content_length": "9" * 20}, None),
        ({"content_length": "5", "transfer_encoding": "chunked"}, None),
    ],
)
def test_a_length_is_a_number_that_no_transfer_coding_voids(fields: dict[str, str], length: int | None) -> None:
    assert length_of(headers(**fields)) == length


@pytest.mark.parametrize(("text", "known"), [("bytes", True), ("none", False), ("items", None), ("", None)])
def test_accept_ranges_is_believed_where_it_speaks_of_bytes(text: str, known: bool | None) -> None:
    assert whole_head(200, headers(accept_ranges=text), "p").accepts_ranges is known


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, NotFound),
        (401, Denied),
        (403, Denied),
        (407, Denied),
        (451, Denied),
        (418, Unavailable),
        (304, Unavailable),
    ],
)
def test_statuses_are_errors(status: int, error: type[FlyfsError]) -> None:
    assert type(error_of(status, headers(), "http://h/f", now_s=0)) is error


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (503, "7", 7.0),
        (429, "100000", 300.0),
        (503, MODIFIED, 20.0),
        (503, "Mon, 23 Nov 2026 15:40:00 GMT", 0.0),
        (503, "soon", None),
        (500, "7", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_five_minutes(status: int, text: str, seconds: float | None) -> None:
    error = error_of(status, headers(retry_after=text), "p", now_s=MODIFIED_S - 20)

    assert isinstance(error, Unavailable)
    assert error.retry_after_s == seconds


def test_identity_is_no_coding() -> None:
    assert whole_head(200, headers(content_encoding="identity", content_length="3"), "p").size == 3
    with pytest.raises(Unavailable, match="coded as br, gzip"):
        part_head(206, Headers([("Content-Encoding", "br"), ("Content-Encoding", "gzip")]), ByteRange(0, 1), "p")


def test_a_part_of_a_file_of_unknown_size_must_be_what_was_asked_for() -> None:
    asked = ByteRange(5, 10)

    head = part_head(206, headers(content_range="bytes 5-9/*"), asked, "p")
    assert (head.size, head.start, head.length) == (None, 5, 5)
    with pytest.raises(Unavailable, match="sends bytes 5-8 where 5-9 were asked for"):
        part_head(206, headers(content_range="bytes 5-8/*"), asked, "p")


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_206_is_accepted_exactly_where_it_is_the_part_clipped_to_the_file(
    start: int, length: int, first: int, last: int, size: int
) -> None:
    asked = ByteRange(start, start + length)
    fields = headers(content_range=f"bytes {first}-{last}/{size}")
    fits = first == start and last + 1 == min(asked.stop, size)

    try:
        head = part_head(206, fields, asked, "p")
    except Unavailable:
        assert not fits
    else:
        assert fits
        assert (head.start, head.length, head.size) == (first, last + 1 - first, size)


def a_head(
    validator: Validator = NOTHING, *, status: int = 206, size: int | None = 9, modified_s: int | None = None
) -> OriginHead:
    return OriginHead(status=status, size=size, validator=validator, modified_s=modified_s, accepts_ranges=True)


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        (ETAG, a_head(ETAG), True),
        (ETAG, a_head(Validator(ValidatorKind.ETAG, '"w"')), False),
        (ETAG, a_head(), False),
        (ETAG, a_head(DATED, modified_s=MODIFIED_S), False),
        (DATED, a_head(DATED, modified_s=MODIFIED_S), True),
        (DATED, a_head(ETAG, modified_s=MODIFIED_S), True),
        (DATED, a_head(ETAG, modified_s=MODIFIED_S + 1), False),
        (DATED, a_head(), True),
        (DATED, a_head(status=200), False),
        (NOTHING, a_head(ETAG), True),
        (Validator(ValidatorKind.DIGEST, "sha256:…"), a_head(ETAG), True),
        (NOTHING, a_head(size=None), True),
        (NOTHING, a_head(size=8), False),
    ],
)
def test_a_version_is_the_same_where_validator_and_size_do_not_contradict(then: Validator, now: OriginHead, same: bool) -> None:
    expect = Version(validator=then, size=9)
    if same:
        check_version(now, expect, "p")
    else:
        with pytest.raises(VersionChanged) as told:
            check_version(now, expect, "p")
        assert told.value.head == now


def test_nothing_and_an_unknown_size_are_never_contradicted() -> None:
    check_version(a_head(), None, "p")
    check_version(a_head(), Version(validator=NOTHING, size=None), "p")


def test_if_range_takes_what_can_be_compared_there() -> None:
    assert if_range_of(Version(validator=ETAG, size=1)) == '"v"'
    assert if_range_of(Version(validator=DATED, size=1)) == MODIFIED
    assert if_range_of(Version(validator=NOTHING, size=1)) is None
    assert if_range_of(Version(validator=Validator(ValidatorKind.DIGEST, "x"), size=1)) is None
    assert if_range_of(None) is None


def test_a_success_other_than_200_and_206_is_no_head() -> None:
    with pytest.raises(Unavailable, match="answers 206 where 200 was due"):
        whole_head(206, headers(), "p")


def test_416_tells_a_new_size_or_nothing() -> None:
    expect = Version(validator=ETAG, size=9)

    assert isinstance(unsatisfied(headers(content_range="bytes */5"), expect, "p"), VersionChanged)
    assert isinstance(unsatisfied(headers(content_range="bytes */9"), expect, "p"), Unavailable)
    assert isinstance(unsatisfied(headers(), expect, "p"), Unavailable)
    assert isinstance(unsatisfied(headers(content_range="bytes */5"), None, "p"), Unavailable)
