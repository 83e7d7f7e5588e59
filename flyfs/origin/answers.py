"""What an origin's answer says of a file: status and headers in, a head or an error out. Pure.

Source: RFC 9110, sections 8.6 (length), 8.8 (validators), 13.1.5 (If-Range), 14 (ranges), 15 (status codes). An answer counts
as content only where all of it fits what was asked and what is expected; error bodies never do.
"""

import re
from calendar import timegm
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_tz
from typing import Protocol

from flyfs.core.blob import Validator, ValidatorKind
from flyfs.core.errors import Denied, FlyfsError, NotFound, Stale, Unavailable
from flyfs.core.grid import ByteRange
from flyfs.core.urls import RemoteUrl

NO_VALIDATOR = Validator(ValidatorKind.NONE)
RETRY_AFTER_MAX_S = 300.0
"""An origin cannot send us away for longer than this: who asks again after five minutes is no burden."""

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"\Z')
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|(\*))/(?:(\d+)|\*)\s*\Z", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]{1,19}\Z")


class Expected(Protocol):
    """A version that the caller already knows: a ``Blob`` or an ``OriginHead``."""

    @property
    def validator(self) -> Validator:
        """What the origin said to tell versions apart."""
        ...

    @property
    def size(self) -> int | None:
        """Bytes, None where not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginHead:
    """What an origin says of a file, and of the body that follows.

    Attributes:
        status: 200 or 206.
        size: bytes of the whole file, None where the origin does not tell.
        validator: the strongest it gave.
        modified_s: Last-Modified in seconds since 1970, None where it does not tell.
        accepts_ranges: False where it certainly ignores Range, None where that is not known yet.
        start: where the body begins in the file.
        length: bytes of the body, None where only its end tells.
        ranges_ignored: a part was asked for and the whole is sent from the start.
    """

    status: int
    size: int | None
    validator: Validator
    modified_s: int | None
    accepts_ranges: bool | None
    start: int = 0
    length: int | None = None
    ranges_ignored: bool = False

    @property
    def told_s(self) -> int | None:
        """Last-Modified as people should see it: none where it lies before 1970, which is no file's time."""
        return self.modified_s if self.modified_s is not None and self.modified_s >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginDirectory:
    """The name is a directory: its URL with a slash answers, or the origin redirects to it."""

    url: RemoteUrl


OriginAnswer = OriginHead | OriginDirectory


class VersionChanged(Stale):
    """The origin now has another version than the expected one: ask for its head again and start a new blob."""

    def __init__(self, message: str, *, head: OriginHead | None) -> None:
        super().__init__(message)
        self.head = head
        """What the origin now has, None where the answer does not tell enough."""


class IsDirectory(NotFound):
    """There is no such file, because the origin redirects the name to the directory of that name."""

    def __init__(self, message: str, *, url: RemoteUrl) -> None:
        super().__init__(message)
        self.url = url
        """The directory, with a trailing slash."""


class Headers:
    """Header fields of one answer, by lower-case name."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in fields:
            self._fields.setdefault(name.lower(), []).append(value.strip())

    def one(self, name: str) -> str | None:
        """The field's only value; None where it is missing or given several times with different values."""
        values = self._fields.get(name)
        return values[0] if values and all(value == values[0] for value in values) else None

    def words(self, name: str) -> tuple[str, ...]:
        """The comma-separated members of all the field's lines, in lower case."""
        return tuple(word.strip().lower() for value in self._fields.get(name, ()) for word in value.split(",") if word.strip())


def date_s(text: str | None) -> int | None:
    """Seconds since 1970 of an HTTP date in any of its three forms; None for anything else."""
    try:
        parts = parsedate_tz(text) if text else None
        return None if parts is None else timegm((*parts[:6], 0, 1, 0)) - (parts[9] or 0)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None  # the standard parser lets impossible dates through to here


def validator_of(headers: Headers) -> Validator:
    """The strongest validator of an answer. A weak or unquoted ETag is none: equal ones do not prove equal bytes."""
    etag = headers.one("etag")
    if etag is not None and _STRONG_ETAG.match(etag):
        return Validator(ValidatorKind.ETAG, etag)
    modified = headers.one("last-modified")
    if modified is not None and date_s(modified) is not None:
        return Validator(ValidatorKind.MODIFIED, modified)
    return NO_VALIDATOR


def length_of(headers: Headers) -> int | None:
    """Content-Length, None where it is missing, void (RFC 9112, 6.3) or no number."""
    text = headers.one("content-length")
    if text is None or headers.words("transfer-encoding") or not _DIGITS.match(text):
        return None
    return int(text)


def if_range_of(expect: Expected | None) -> str | None:
    """The If-Range value that makes a part be sent of the expected version only; None where there is none."""
    if expect is not None and expect.validator.kind in (ValidatorKind.ETAG, ValidatorKind.MODIFIED):
        return expect.validator.value
    return None


def error_of(status: int, headers: Headers, place: str, *, now_s: float) -> FlyfsError:
    """The error that a status stands for; ``place`` names the URL for people, ``now_s`` is Unix time.

    Meant for whatever is neither 200 nor 206 nor a redirect; every other status is ``Unavailable`` too.
    """
    text = f"{place}: the origin answers {status}"
    if status in (404, 410):
        return NotFound(text)
    if status in (401, 403, 407, 451):
        return Denied(f"{text} (credentials are given with --header)" if status == 401 else text)
    return Unavailable(text, retry_after_s=retry_after_s(status, headers, now_s=now_s))


def retry_after_s(status: int, headers: Headers, *, now_s: float) -> float | None:
    """Seconds to stay away that a 429 or 503 asks for; None where it does not."""
    text = headers.one("retry-after")
    if status not in (429, 503) or text is None:
        return None
    if _DIGITS.match(text):
        return min(float(text), RETRY_AFTER_MAX_S)
    at_s = date_s(text)
    return None if at_s is None else min(max(at_s - now_s, 0.0), RETRY_AFTER_MAX_S)


def _refuse_coding(headers: Headers, place: str) -> None:
    codings = [coding for coding in headers.words("content-encoding") if coding != "identity"]
    if codings:
        raise Unavailable(f"{place}: the origin sends it coded as {', '.join(codings)} although identity was asked for")


def whole_head(status: int, headers: Headers, place: str) -> OriginHead:
    """The head in a 200 to HEAD or to a GET without Range.

    Raises:
        Unavailable: it is another success, or the content is coded.
    """
    if status != 200:
        raise Unavailable(f"{place}: the origin answers {status} where 200 was due")
    _refuse_coding(headers, place)
    length = length_of(headers)
    ranges = headers.words("accept-ranges")
    return OriginHead(
        status=status,
        size=length,
        validator=validator_of(headers),
        modified_s=date_s(headers.one("last-modified")),
        accepts_ranges=True if "bytes" in ranges else False if "none" in ranges else None,
        length=length,
    )


def part_head(status: int, headers: Headers, asked: ByteRange, place: str) -> OriginHead:
    """The head in the answer to a GET with a Range.

    Raises:
        Unavailable: the answer is not the part that was asked for, nor the whole file.
    """
    if status != 206:
        return _whole_for_part(whole_head(status, headers, place), asked)
    _refuse_coding(headers, place)
    text = headers.one("content-range") or ""
    found = _CONTENT_RANGE.match(text)
    if found is None or found[1] is None:
        raise Unavailable(f"{place}: the origin answers 206 with Content-Range {text[:80]!r}")
    start, stop = int(found[1]), int(found[2]) + 1
    size = None if found[4] is None else int(found[4])
    due = asked.stop if size is None else min(asked.stop, size)
    if start != asked.start or stop != due:
        raise Unavailable(f"{place}: the origin sends bytes {start}-{stop - 1} where {asked.start}-{due - 1} were asked for")
    length = length_of(headers)
    if length is not None and length != stop - start:
        raise Unavailable(f"{place}: the origin announces {length} bytes for a part of {stop - start}")
    return OriginHead(
        status=status,
        size=size,
        validator=validator_of(headers),
        modified_s=date_s(headers.one("last-modified")),
        accepts_ranges=True,
        start=start,
        length=stop - start,
    )


def _whole_for_part(head: OriginHead, asked: ByteRange) -> OriginHead:
    if head.size is not None and asked.start == 0 and asked.stop >= head.size:
        return head  # all of it was asked for: 200 is as good as 206 and tells nothing about ranges
    return OriginHead(
        status=head.status,
        size=head.size,
        validator=head.validator,
        modified_s=head.modified_s,
        accepts_ranges=False,
        length=head.length,
        ranges_ignored=True,
    )


def unsatisfied_size(headers: Headers) -> int | None:
    """The size that a 416 tells (``bytes */SIZE``), None where it does not."""
    found = _CONTENT_RANGE.match(headers.one("content-range") or "")
    return int(found[4]) if found and found[3] and found[4] else None


def check_version(head: OriginHead, expect: Expected | None, place: str) -> None:
    """Returns where ``head`` can be of the expected version.

    Sizes must agree where both are known. A strong ETag must be there again (RFC 9110, 15.3.7 demands it of a 206 too);
    Last-Modified must agree where it is there, and be there in a 200 (a 206 to If-Range may omit it).

    Raises:
        VersionChanged: it is of another version.
    """
    if expect is None:
        return
    if expect.size is not None and head.size is not None and head.size != expect.size:
        raise VersionChanged(f"{place}: the origin now has {head.size} bytes where {expect.size} were", head=head)
    then = expect.validator
    if not _same_version(head, then):
        now = head.validator.value or "nothing"
        raise VersionChanged(f"{place}: the origin has another version ({now} now, {then.value} before)", head=head)


def _same_version(head: OriginHead, then: Validator) -> bool:
    match then.kind:
        case ValidatorKind.ETAG:
            return head.validator == then
        case ValidatorKind.MODIFIED if head.modified_s is None:
            return head.status == 206
        case ValidatorKind.MODIFIED:
            return head.modified_s == date_s(then.value)
        case ValidatorKind.DIGEST | ValidatorKind.NONE:
            return True  # the digest is checked over the content; without a validator nothing can be said


def unsatisfied(headers: Headers, expect: Expected | None, place: str) -> FlyfsError:
    """The error that a 416 stands for where the range lay inside the file as it was known."""
    size = unsatisfied_size(headers)
    if expect is not None and size is not None and size != expect.size:
        return VersionChanged(f"{place}: the origin now has {size} bytes where {expect.size} were", head=None)
    return Unavailable(f"{place}: the origin answers 416 to a range inside the file")
