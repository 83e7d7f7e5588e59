"""The cache directories of this host, and how each is asked: through the daemon that has it, or opened by ourselves. Shell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from flyfs.config.cache import CacheConfig
from flyfs.control.cache import answer_cache, list_from_outside
from flyfs.control.client import ControlClient, find_daemons
from flyfs.control.messages import CacheCollect, CacheList, CacheRequest
from flyfs.core.errors import FlyfsError, NotFound, Unavailable, told_error
from flyfs.store.cache_directory import VERSION_NAME
from flyfs.store.store import Store

OnRow = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache directory; ``daemon`` has it, if any does that the caller may ask."""

    directory: Path
    daemon: ControlClient | None

    def ask(self, request: CacheRequest, on_row: OnRow, *, action: str, limit_bytes: int | None) -> dict[str, Any]:
        """Does what is asked; ``on_row`` gets the rows that come before the answer.

        Args:
            request: what to do.
            on_row: called with each row.
            action: what this command is called, for others who want the directory meanwhile.
            limit_bytes: what a cache that no daemon has may keep, where nothing else is asked for.

        Raises:
            FlyfsError: it cannot be done; a process that takes no commands has the directory (``InUse``), for one.
        """
        if self.daemon is not None:
            answer: dict[str, Any] = self.daemon.cache(request, on_row)
            return answer
        if isinstance(request, CacheList):
            return self._look(on_row)
        if isinstance(request, CacheCollect) and request.to_bytes is None:
            request = CacheCollect(limit_bytes)
        try:
            return trio.run(self._open_and_ask, request, on_row, action)
        except BaseExceptionGroup as group:
            raise told_error(group) from group

    def _look(self, on_row: OnRow) -> dict[str, Any]:
        used_bytes = 0
        try:
            for row in list_from_outside(self.directory):
                used_bytes += row["held_bytes"]
                on_row(row)
        except OSError as error:
            raise Unavailable(f"{self.directory} cannot be read: {error.strerror}; ask as the user whose it is") from error
        return {"used_bytes": used_bytes, "limit_bytes": None}

    async def _open_and_ask(self, request: CacheRequest, on_row: OnRow, action: str) -> dict[str, Any]:
        async def tell(row: object) -> None:
            on_row(row)

        async with Store.open(self.directory, owner=f"flyfs cache {action}") as store:
            return await answer_cache(store, request, tell)


def find_caches(config: CacheConfig) -> list[Cache]:
    """The cache that was named, or all that lie in the usual place or belong to a daemon that lets the caller in.

    Raises:
        NotFound: there is none.
    """
    daemons = _daemons_by_directory(config)
    if config.directory is not None:
        if not _is_cache(config.directory):
            raise NotFound(
                f"{config.directory} is no cache of flyfs: it holds no file {VERSION_NAME!r}; see flyfs cache ls --help"
            )
        return [Cache(config.directory, daemons.get(config.directory.resolve()))]
    places = {directory: Cache(directory, daemon) for directory, daemon in daemons.items()}
    try:
        usual = sorted(path.resolve() for path in config.home.iterdir() if _is_cache(path))
    except OSError:  # nothing was ever kept there, or it is another user's
        usual = []
    for directory in usual:
        places.setdefault(directory, Cache(directory, None))
    if not places:
        raise NotFound(f"there is no cache in {config.home}, and no mount that can be asked; name one with --cache")
    return [places[directory] for directory in sorted(places)]


def _daemons_by_directory(config: CacheConfig) -> dict[Path, ControlClient]:
    found: dict[Path, ControlClient] = {}
    for daemon in find_daemons(config.runtime_directories):
        try:
            directory = daemon.status()["store"].get("directory")
        except FlyfsError:  # it ends or stalls: whoever opens its cache is told so
            continue
        if directory is not None:  # an older daemon does not tell
            found[Path(directory).resolve()] = daemon
    return found


def _is_cache(directory: Path) -> bool:
    try:
        return (directory / VERSION_NAME).is_file()
    except OSError:  # not ours to look into
        return False
