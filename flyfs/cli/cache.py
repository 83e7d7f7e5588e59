"""``flyfs cache ls|rm|gc|verify``: looks after what was fetched. Shell: asks caches and prints.

One cache that cannot be asked does not keep the others from it; the command fails in the end.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flyfs.cli.cache_report import count, tabulate, tell_collected, tell_damage, tell_removed, tell_verified
from flyfs.cli.progress import Progress, shown_progress
from flyfs.config.cache import CacheConfig, cache_usage, read_cache_config
from flyfs.control.messages import CacheCollect, CacheList, CacheRemove, CacheRequest, CacheVerify
from flyfs.control.mounts import flyfs_mountpoints
from flyfs.core.errors import Corrupt, FlyfsError, NotFound, Unavailable
from flyfs.telemetry.log import logging_to_stderr


def prepare(arguments: Sequence[str]) -> Callable[[], int]:
    """Reads the configuration; raises ConfigError."""
    if list(arguments) in (["-h"], ["--help"]):
        return lambda: _print(cache_usage() + "\n")
    config = read_cache_config(arguments, os.environ, flyfs_mountpoints())
    return _Command(config).run


def _print(text: str) -> int:
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0


@dataclass(slots=True)
class _Command:
    """One run of the command over all caches."""

    config: CacheConfig
    failures: list[str] = field(default_factory=list)
    damaged: int = 0
    removed: list[Any] = field(default_factory=list)
    in_use: list[Any] = field(default_factory=list)
    unknown: list[set[str]] = field(default_factory=list)
    ambiguous: set[str] = field(default_factory=set)

    def run(self) -> int:
        from flyfs.cli.caches import Cache, find_caches  # noqa: PLC0415 - the store and its loop are not for mistakes and --help

        def ask(cache: Cache) -> Callable[[CacheRequest, Callable[[Any], None]], Any]:
            return lambda request, on_row: cache.ask(
                request, on_row, action=self.config.action, limit_bytes=self.config.limit_bytes
            )

        act = {"ls": self._list, "rm": self._remove, "gc": self._collect, "verify": self._verify}[self.config.action]
        with logging_to_stderr("error"):  # what is expected is told in the answers
            for cache in find_caches(self.config):
                try:
                    act(str(cache.directory), ask(cache))
                except FlyfsError as error:
                    self.failures.append(error.message)
        sys.stdout.flush()
        self._fail_if_need_be()
        return 0

    def _list(self, directory: str, ask: "_Ask") -> None:
        rows: list[Any] = []
        answer = ask(CacheList(), rows.append)
        if self.config.json:
            self._tell_json(*({"cache": directory, **row} for row in rows))
        else:
            sys.stdout.write(tabulate(directory, rows, answer))

    def _remove(self, directory: str, ask: "_Ask") -> None:
        answer = ask(CacheRemove(self.config.names), lambda _: None)
        self.removed += answer["removed"]
        self.in_use += answer["in_use"]
        self.unknown.append(set(answer["unknown"]))
        self.ambiguous |= set(answer["ambiguous"])
        if self.config.json:
            self._tell_json(*({"cache": directory, **row} for row in answer["removed"]))
        else:
            sys.stdout.write(tell_removed(answer["removed"]))

    def _collect(self, directory: str, ask: "_Ask") -> None:
        answer = ask(CacheCollect(self.config.to_bytes), lambda _: None)
        if self.config.json:
            self._tell_json({"cache": directory, **answer})
        else:
            sys.stdout.write(tell_collected(directory, answer))

    def _verify(self, directory: str, ask: "_Ask") -> None:
        with shown_progress(directory) as bar:
            rows = _ProofRows(bar)
            answer = ask(CacheVerify(), rows)
        self.damaged += answer["damaged"]
        if self.config.json:
            self._tell_json({"cache": directory, **answer, "damaged": rows.damaged})
        else:
            sys.stdout.write("".join(map(tell_damage, rows.damaged)) + tell_verified(directory, answer))

    @staticmethod
    def _tell_json(*documents: Any) -> None:
        sys.stdout.writelines(json.dumps(document) + "\n" for document in documents)

    def _fail_if_need_be(self) -> None:
        unknown = sorted(set.intersection(*self.unknown)) if self.unknown else []
        told = list(self.failures)
        if self.in_use:
            told.append(f"in use, and not dropped: {', '.join(row['id'] for row in self.in_use)}; close what reads them first")
        if self.ambiguous:
            told.append(f"the start of several ids: {', '.join(sorted(self.ambiguous))}; give more digits")
        if told:
            raise Unavailable("; ".join(told))
        if unknown:
            raise NotFound(f"in no cache: {', '.join(unknown)}; flyfs cache ls tells what there is")
        if self.damaged:
            what = f"{count(self.damaged, 'piece')} {'was' if self.damaged == 1 else 'were'} damaged and dropped"
            raise Corrupt(f"{what}; they are fetched again when they are read. Where that goes on, look after the disk")


_Ask = Callable[[CacheRequest, Callable[[Any], None]], Any]


class _ProofRows:
    """Takes the rows of a verification: how far it is, and what was damaged."""

    def __init__(self, bar: Progress) -> None:
        self.damaged: list[Any] = []
        self._bar = bar
        self._done_bytes: int | None = None

    def __call__(self, row: Any) -> None:
        match row:
            case {"done_bytes": int(done_bytes), "whole_bytes": int(whole_bytes)}:
                if self._done_bytes is None:
                    self._bar.begin(whole_bytes)
                self._bar.advance(done_bytes - (self._done_bytes or 0))
                self._done_bytes = done_bytes
            case {"damaged": damaged}:
                self.damaged.append(damaged)
            case _:
                pass  # what a newer daemon tells beside
