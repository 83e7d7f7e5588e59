"""Asking about remote names, with a deadline, once per question at a time, and patiently only once. Shell."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from flyfs.core.errors import Denied, NotFound, TooLarge, Unavailable
from flyfs.core.remote import Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl
from flyfs.fs.circuit import Circuit, RecentFailures
from flyfs.fs.remotes import Remotes
from flyfs.fs.single_flight import SingleFlight

V = TypeVar("V")

KNOWN_S = 0.1
"""Patience, after a time-out, where the answer can be told from memory: opening and reading what is held stays far below 1 s."""

_HOSTS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class _Question:
    """What makes two questions one."""

    url: RemoteUrl
    max_age_s: float
    listing: bool = False
    read: bool = False
    pin: bool = False


class Questions:
    """``Remotes`` with the manners that a filesystem needs."""

    def __init__(self, remotes: Remotes, *, deadline_s: float) -> None:
        self._remotes = remotes
        self._stats = SingleFlight[_Question, RemoteFile | RemoteDirectory]()
        self._lists = SingleFlight[_Question, Listing]()
        self._circuit = Circuit[tuple[str, str]](deadline_s=deadline_s)
        self._failures = RecentFailures[_Question]()
        self._answered: dict[str, dict[str, None]] = {}

    def hosts(self, scheme: str) -> tuple[str, ...]:
        """The authorities that have answered so far."""
        return tuple(self._answered.get(scheme, ()))

    def patience_s(self, url: RemoteUrl) -> float:
        """How long a question about ``url`` would wait now."""
        return self._circuit.patience_s((url.scheme, url.authority), 0, trio.current_time())

    def is_patient(self, url: RemoteUrl) -> bool:
        """Whether nothing timed out on the host of ``url`` lately."""
        return self.patience_s(url) == self._circuit.deadline_s

    def timed_out(self, url: RemoteUrl) -> None:
        """Somebody waited in vain for the host of ``url``."""
        self._circuit.timed_out((url.scheme, url.authority), 0, trio.current_time())

    def bytes_came(self, url: RemoteUrl) -> None:
        """A reader of the file at ``url`` waited, and was served."""
        self._circuit.answered((url.scheme, url.authority))

    async def stat(
        self, url: RemoteUrl, *, max_age_s: float, read: bool = False, pin: bool = False, known: bool = False
    ) -> RemoteFile | RemoteDirectory:
        """As ``Remotes.stat``, within the deadline; where the answer is ``known`` from memory, patience ends sooner.

        Raises:
            FlyfsError: as there; ``Unavailable`` at the deadline.
        """
        question = _Question(url, max_age_s, read=read, pin=pin)
        return await self._stats.fly(
            question,
            lambda: self._ask(question, lambda: self._remotes.stat(url, max_age_s=max_age_s, read=read, pin=pin), known=known),
        )

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """As ``Remotes.list``, within the deadline.

        Raises:
            FlyfsError: as there; ``Unavailable`` at the deadline.
        """
        question = _Question(url, max_age_s, listing=True)
        return await self._lists.fly(question, lambda: self._ask(question, lambda: self._remotes.list(url, max_age_s=max_age_s)))

    async def _ask(self, question: _Question, ask: Callable[[], Awaitable[V]], *, known: bool = False) -> V:
        failure = self._failures.recall(question, trio.current_time())
        if failure is not None:
            raise failure
        url = question.url
        patience_s = self.patience_s(url)
        if known and patience_s < self._circuit.deadline_s:
            patience_s = min(patience_s, KNOWN_S)
        try:
            with trio.fail_after(patience_s):
                answer = await ask()
        except trio.TooSlowError:
            late = Unavailable(f"{url.redacted()}: no answer within {patience_s:g} s")
            self.timed_out(url)
            self._failures.failed(question, late, trio.current_time())
            raise late from None
        except NotFound:
            self._heard_from(url)
            raise
        except (Denied, TooLarge, Unavailable) as error:
            self._failures.failed(question, error, trio.current_time())
            raise
        self._heard_from(url)
        return answer

    def _heard_from(self, url: RemoteUrl) -> None:
        self._circuit.answered((url.scheme, url.authority))
        hosts = self._answered.setdefault(url.scheme, {})
        if len(hosts) < _HOSTS_LIMIT:
            hosts.setdefault(url.authority)
