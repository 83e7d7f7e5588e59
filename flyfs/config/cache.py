"""What ``flyfs cache`` was asked to do. Shell: looks for links and the own user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from flyfs.config.options import CACHE, CACHE_GC_OPTIONS, CACHE_LIMIT, CACHE_OPTIONS, JSON, TO
from flyfs.config.places import cache_home
from flyfs.config.settings import path_in, read_settings, runtime_directories
from flyfs.core.command_line import CommandLine, Option
from flyfs.core.errors import ConfigError

#: What can be done with a cache, and what ``--help`` says of it.
ACTIONS = {
    "ls": "lists what is held",
    "rm": "drops blobs",
    "gc": "drops what was used least recently, and what is of no use",
    "verify": "proves everything from the disk, and drops what is damaged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """What ``flyfs cache`` was asked to do.

    Attributes:
        action: one of ``ACTIONS``.
        names: URLs, blob ids or starts of them, to be removed.
        directory: the one cache that it is about; None for all of this host that the caller may use.
        home: where the caches lie that nobody chose a place for.
        to_bytes: what may stay; None for what a limit allows.
        limit_bytes: the limit of a cache that no daemon has now; None for no limit.
        runtime_directories: where to look for running daemons.
    """

    action: str
    names: tuple[str, ...]
    directory: Path | None
    home: Path
    to_bytes: int | None
    limit_bytes: int | None
    json: bool
    runtime_directories: tuple[Path, ...]


def read_cache_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> CacheConfig:
    """The configuration of ``flyfs cache``; ``mounts`` are those of this host, not to be looked into. Raises ConfigError."""
    action = _action(arguments)
    words = {"URL|BLOB-ID...": "what to drop; of an id the first 8 digits are enough"} if action == "rm" else {}
    options: tuple[Option[Any], ...] = CACHE_GC_OPTIONS if action == "gc" else CACHE_OPTIONS
    about = f"{ACTIONS[action][0].upper()}{ACTIONS[action][1:]}; of all caches of this host that the caller may use, or of one."
    flags, given = CommandLine(f"flyfs cache {action}", about, options, words).split_all(arguments[1:])
    settings = read_settings(options, flags, environment)
    return CacheConfig(
        action=action,
        names=tuple(given.get("url|blob-id", ())),
        directory=path_in(settings, CACHE, mounts),
        home=cache_home(environment),
        to_bytes=settings.get(TO) if action == "gc" else None,
        limit_bytes=settings.get(CACHE_LIMIT) if action == "gc" else None,
        json=settings.on(JSON),
        runtime_directories=runtime_directories(settings, environment, mounts),
    )


def cache_usage() -> str:
    """What ``flyfs cache --help`` tells."""
    actions = "\n".join(f"  {name:<8} {about}" for name, about in ACTIONS.items())
    about = "Looks after what was fetched."
    return f"usage: flyfs cache ACTION …\n\n{about}\n\n{actions}\n\nflyfs cache ACTION --help tells its options."


def _action(arguments: Sequence[str]) -> str:
    name = arguments[0] if arguments else ""
    if name in ACTIONS:
        return name
    near = get_close_matches(name, ACTIONS, n=1)
    told = f"there is no {name!r}" if name else "what is to be done is missing"
    raise ConfigError(told + (f"; did you mean {near[0]}?" if near else "; see flyfs cache --help"))
