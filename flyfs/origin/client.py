"""What the other rooms ask origins with: stat, list, read. Shell; the only place, with its body and transport, that knows httpx.

Requests are made in the caller's name (its headers), under the caller's deadline, at most a few per origin at once. An answer
is believed only where it fits what was asked (``answers.py``); nothing of one caller (cookies, credentials) reaches another.
"""

import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import trio

from flyfs.core.errors import FlyfsError, NotFound, Unavailable
from flyfs.core.grid import KIB, ByteRange
from flyfs.core.urls import RemoteUrl
from flyfs.limit.host_limit import UNLIMITED, HostLimit
from flyfs.origin.address_guard import AddressPolicy
from flyfs.origin.answers import (
    NO_VALIDATOR,
    Expected,
    Headers,
    IsDirectory,
    OriginAnswer,
    OriginDirectory,
    OriginHead,
    check_version,
    error_of,
    if_range_of,
    length_of,
    part_head,
    retry_after_s,
    unsatisfied,
    unsatisfied_size,
    whole_head,
)
from flyfs.origin.body import LONG_BODY_BYTES, OriginBody
from flyfs.origin.breaker import OriginBreaker
from flyfs.origin.entry_collector import LISTING_MAX_BYTES, OriginListing
from flyfs.origin.head_habits import DOUBTFUL_STATUSES, HeadHabits
from flyfs.origin.listing import parse_listing
from flyfs.origin.permits import PERMITS_PER_ORIGIN, OriginPermits
from flyfs.origin.redirects import (
    REDIRECTS,
    REDIRECTS_MAX,
    check_caller_headers,
    leads_to_directory,
    next_hop,
    stays_directory,
)
from flyfs.origin.transport import BrokenAnswer, OriginTransport, errors_told

CONNECT_TIMEOUT_S = 5.0
STALL_TIMEOUT_S = 10.0
"""How long an origin may send nothing: a third of a reader's deadline, so that it is asked again while the reader waits."""

_INLINE_LISTING_BYTES = 64 * KIB
"""A larger listing is read in a thread: 64 KiB, about 500 names, take 1 ms."""
_FIRST_BYTE = ByteRange(0, 1)
_OWN_FIELDS = {"user-agent": "flyfs", "accept": "*/*", "accept-encoding": "identity"}


@dataclass(slots=True)
class _Answer:
    """One final answer, open until its ``async with`` is left."""

    url: RemoteUrl
    response: httpx.Response
    headers: Headers
    place: str
    body: OriginBody | None = None

    @property
    def status(self) -> int:
        return self.response.status_code

    def error(self) -> FlyfsError:
        return error_of(self.status, self.headers, self.place, now_s=time.time())


class _EmptyFile(Exception):
    """The origin answered 416 because the file is empty."""


class OriginClient:
    """Asks origins; an async context manager that owns the connections."""

    def __init__(
        self,
        *,
        policy: AddressPolicy,
        origin_ca: Path | None = None,
        permits_per_origin: int = PERMITS_PER_ORIGIN,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        stall_timeout_s: float = STALL_TIMEOUT_S,
        limit: HostLimit = UNLIMITED,
    ) -> None:
        """Prepares, but connects to nobody. Raises ConfigError where ``origin_ca`` holds no certificates."""
        for name in ("httpx", "httpcore"):  # they log whole URLs, with their signatures
            logging.getLogger(name).setLevel(logging.WARNING)
        self._http = httpx.AsyncClient(
            transport=OriginTransport(policy, origin_ca=origin_ca, limit=limit),
            headers=_OWN_FIELDS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a cookie of one caller must not reach another
            trust_env=False,
            follow_redirects=False,
        )
        self._stall_s = stall_timeout_s
        self._timeout = httpx.Timeout(connect=connect_timeout_s, read=stall_timeout_s, write=stall_timeout_s, pool=None)
        self._permits = OriginPermits(permits_per_origin)
        self._habits = HeadHabits()

    def isolated(self) -> list[tuple[str, OriginBreaker]]:
        """Origins that are left alone because they fail, and those that have not answered since."""
        return self._permits.isolated()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):  # closing sockets waits for nobody
            await self._http.aclose()

    async def stat(self, url: RemoteUrl, headers: Mapping[str, str]) -> OriginAnswer:
        """What is at ``url``: HEAD, or a GET of one byte where the origin is known to refuse HEAD.

        A URL with a trailing slash is asked whether it is a directory. The head's ``length`` is the file's size.

        Raises:
            NotFound: certainly nothing.
            Denied: the origin or the address policy refuses.
            Unavailable: it cannot be known now.
        """
        check_caller_headers(headers)
        try:
            if url.is_directory:
                return await self._stat_directory(url, headers)
            return await self._stat_file(url, headers)
        except IsDirectory as found:
            return OriginDirectory(url=found.url)

    async def _stat_file(self, url: RemoteUrl, headers: Mapping[str, str]) -> OriginHead:
        origin = _origin_of(url)
        if self._habits.refuses(origin):
            return await self._probe(url, headers)
        told: OriginHead | None = None
        try:
            async with self._follow("HEAD", url, headers) as answer:
                if answer.status == 200:
                    told = whole_head(answer.status, answer.headers, answer.place)
                elif answer.status not in DOUBTFUL_STATUSES:
                    raise answer.error()
        except BrokenAnswer:
            pass  # a GET may still work, and tells the error if not
        if told is not None and self._habits.believes_length(origin, told.size):
            return told
        head = await self._probe(url, headers)
        if told is None or head.size != told.size:
            self._habits.head_was_useless(origin)
        elif head.size == 0:
            self._habits.zero_was_confirmed(origin)
        return head

    async def _probe(self, url: RemoteUrl, headers: Mapping[str, str]) -> OriginHead:
        """The head of a file, from a GET of its first byte."""
        async with self._opened(url, _FIRST_BYTE, headers, None) as body:
            head = body.head
        return replace(head, status=200, start=0, length=head.size, ranges_ignored=False)

    async def _stat_directory(self, url: RemoteUrl, headers: Mapping[str, str]) -> OriginDirectory:
        method = "GET" if self._habits.refuses(_origin_of(url)) else "HEAD"
        async with self._follow(method, url, headers) as answer:
            if _is_directory_answer(url, answer):
                return OriginDirectory(url=url)
            if method == "GET" or answer.status not in DOUBTFUL_STATUSES - {403}:
                raise answer.error() if answer.status != 200 else NotFound(f"{answer.place}: no directory")
        async with self._follow("GET", url, headers) as answer:
            if not _is_directory_answer(url, answer):
                raise answer.error() if answer.status != 200 else NotFound(f"{answer.place}: no directory")
        self._habits.head_was_useless(_origin_of(url))
        return OriginDirectory(url=url)

    async def directory_instead(self, url: RemoteUrl, headers: Mapping[str, str], missing: NotFound) -> OriginAnswer:
        """What is at ``url`` with a slash, where there is no file of that name; origins that redirect never get here.

        Raises:
            NotFound: ``missing``, where that is no directory either.
            Denied, Unavailable: as ``stat``.
        """
        if url.is_directory:
            raise missing
        try:
            return await self.stat(url.as_directory(), headers)
        except NotFound:
            raise missing from None

    async def list(self, url: RemoteUrl, headers: Mapping[str, str]) -> OriginListing:
        """The names in the directory ``url``; one that exists without a listing is empty and says so (``listed``).

        Raises:
            NotFound: there is no such directory.
            Denied: the origin wants a credential, or the address policy refuses.
            Unavailable: it cannot be known now, or the listing is too long.
        """
        check_caller_headers(headers)
        url = url.as_directory()
        async with self._follow("GET", url, headers) as answer:
            if answer.status == 403 or (_is_root(url) and answer.status in (404, 410)):
                return OriginListing()  # a directory that may be entered, but not listed
            if answer.status != 200:
                raise answer.error()
            head = whole_head(answer.status, answer.headers, answer.place)
            if not stays_directory(url, answer.url):
                return OriginListing()
            page = await self._whole(answer, head)
            content_type, place = answer.headers.one("content-type") or "", answer.place
            base = answer.url
        if len(page) <= _INLINE_LISTING_BYTES:
            return parse_listing(page, content_type, base, place)
        return await trio.to_thread.run_sync(parse_listing, page, content_type, base, place, abandon_on_cancel=True)

    async def _whole(self, answer: _Answer, head: OriginHead) -> bytes:
        body = answer.body = OriginBody(head, answer.response, stall_s=self._stall_s, place=answer.place)
        page = bytearray()
        buffer = memoryview(bytearray(256 * KIB))
        while head.length is None or len(page) < head.length:
            if max(len(page), head.length or 0) > LISTING_MAX_BYTES:
                raise Unavailable(f"{answer.place}: the listing is longer than {LISTING_MAX_BYTES} bytes")
            count = await body.receive_into(buffer)
            if not count:
                break
            page += buffer[:count]
        return bytes(page)

    @asynccontextmanager
    async def read(
        self,
        url: RemoteUrl,
        range: ByteRange | None,  # noqa: A002 - the seam's word
        headers: Mapping[str, str],
        expect: Expected | None,
    ) -> AsyncGenerator[OriginBody, None]:
        """The body of ``range``, or of the whole file (None), at the version ``expect`` (None: any).

        An origin that ignores Range gives the whole file instead (``body.sequential``). Of an empty file every range that
        starts at 0 is the empty body.

        Raises:
            VersionChanged: the origin now has another version.
            IsDirectory: the name is a directory.
            NotFound: certainly nothing is there.
            Denied: the origin or the address policy refuses.
            Unavailable: it cannot be had now, or the answer does not fit the question.
            ValueError: ``range`` is empty.
        """
        check_caller_headers(headers)
        async with self._opened(url, range, headers, expect) as body:
            yield body

    @asynccontextmanager
    async def _opened(
        self, url: RemoteUrl, asked: ByteRange | None, headers: Mapping[str, str], expect: Expected | None
    ) -> AsyncGenerator[OriginBody, None]:
        try:
            async with self._opened_once(url, asked, headers, expect) as body:
                yield body
                return
        except _EmptyFile:
            pass
        async with self._opened_once(url, None, headers, expect) as body:
            yield body

    @asynccontextmanager
    async def _opened_once(
        self, url: RemoteUrl, asked: ByteRange | None, headers: Mapping[str, str], expect: Expected | None
    ) -> AsyncGenerator[OriginBody, None]:
        fields: dict[str, str] = {}
        if asked is not None:
            if not len(asked):
                raise ValueError("an empty range cannot be asked for")
            fields["range"] = f"bytes={asked.start}-{asked.stop - 1}"
            if_range = if_range_of(expect)
            if if_range is not None:
                fields["if-range"] = if_range
        long = asked is None or len(asked) >= LONG_BODY_BYTES
        async with self._follow("GET", url, headers, fields, long=long) as answer:
            if answer.status == 416 and asked is not None:
                if asked.start == 0 and unsatisfied_size(answer.headers) == 0 and (expect is None or expect.size == 0):
                    raise _EmptyFile
                raise unsatisfied(answer.headers, expect, answer.place)
            if answer.status not in (200, 206):
                raise answer.error()
            if asked is None:
                head = whole_head(answer.status, answer.headers, answer.place)
            else:
                head = part_head(answer.status, answer.headers, asked, answer.place)
            check_version(head, expect, answer.place)
            if head.length is None and expect is not None:
                head = replace(head, length=expect.size)  # the end is not announced, but known
            answer.body = OriginBody(head, answer.response, stall_s=self._stall_s, place=answer.place)
            yield answer.body

    @asynccontextmanager
    async def _follow(
        self,
        method: str,
        url: RemoteUrl,
        headers: Mapping[str, str],
        fields: Mapping[str, str] | None = None,
        *,
        long: bool = False,
    ) -> AsyncGenerator[_Answer, None]:
        """The answer at the end of all redirects; ``fields`` are ours and travel along, ``headers`` only within the origin."""
        asked = url
        for _ in range(REDIRECTS_MAX + 1):
            async with self._hop(method, url, headers, fields or {}, long=long) as answer:
                if answer.status not in REDIRECTS:
                    yield answer
                    return
                hop = next_hop(url, answer.headers.one("location"), headers)
                if leads_to_directory(url, hop.url):
                    raise IsDirectory(f"{answer.place}: is a directory", url=asked.as_directory())
            url, headers = hop.url, hop.headers
        raise Unavailable(f"{asked.redacted()}: the origin redirects more than {REDIRECTS_MAX} times")

    @asynccontextmanager
    async def _hop(
        self, method: str, url: RemoteUrl, headers: Mapping[str, str], fields: Mapping[str, str], *, long: bool
    ) -> AsyncGenerator[_Answer, None]:
        place, origin = url.redacted(), _origin_of(url)
        request_fields = [(name.encode("ascii"), value.encode("latin-1")) for name, value in (*headers.items(), *fields.items())]
        async with self._permits.permit(origin, long=long):
            try:
                with errors_told(place):
                    request = self._http.build_request(method, str(url), headers=request_fields, timeout=self._timeout)
                    response = await self._http.send(request, stream=True)
            except Unavailable as error:
                self._permits.failed(origin, error.message)
                raise
            if response.status_code >= 500:
                self._permits.failed(origin, f"{place}: status {response.status_code}", place)
            else:
                self._permits.answered(origin)
            answer_headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw)
            answer = _Answer(url, response, answer_headers, place)
            try:
                away_s = retry_after_s(answer.status, answer_headers, now_s=time.time())
                if away_s:
                    self._permits.leave_alone(origin, away_s)
                yield answer
            finally:
                if answer.body is None:
                    answer.body = self._unread(method, answer)
                await answer.body.aclose()

    def _unread(self, method: str, answer: _Answer) -> OriginBody:
        """The body of an answer that is no content, only to be got rid of."""
        length = 0 if method == "HEAD" else length_of(answer.headers)
        head = OriginHead(
            status=answer.status, size=None, validator=NO_VALIDATOR, modified_s=None, accepts_ranges=None, length=length
        )
        return OriginBody(head, answer.response, stall_s=self._stall_s, place=answer.place)


def _origin_of(url: RemoteUrl) -> str:
    return f"{url.scheme}://{url.authority}"


def _is_root(url: RemoteUrl) -> bool:
    return url.segments == ("",)


def _is_directory_answer(url: RemoteUrl, answer: _Answer) -> bool:
    """Whether a directory URL's answer says that it is one; the root of an origin that answers at all always is."""
    if _is_root(url):
        return answer.status in (200, 401, 403, 404, 405, 410, 501)
    return answer.status == 200 and stays_directory(url, answer.url)
