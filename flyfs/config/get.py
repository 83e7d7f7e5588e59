"""What ``flyfs get`` was asked to do. Shell: looks for links, files and the own user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyfs.config.options import (
    ALLOW_ORIGIN,
    CACHE,
    CACHE_LIMIT,
    GET_OPTIONS,
    NO_ORIGIN,
    ORIGIN_CA,
    OUTPUT,
    OWN_FETCH,
    PIECE_SIZE,
    QUIET_LOG_LEVEL,
    RATE_LIMIT,
    RESOLVER,
    SHA256,
    SUPERNODES,
    TIMEOUT,
    VERIFY,
)  # fmt: skip
from flyfs.config.places import cache_home, real_path
from flyfs.config.settings import path_in, read_settings, readable_file, runtime_directories
from flyfs.config.url import read_url
from flyfs.core.address import Address, SrvName
from flyfs.core.command_line import CommandLine
from flyfs.core.errors import ConfigError
from flyfs.core.urls import RemoteUrl
from flyfs.core.verify import Verify


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConfig:
    """What ``flyfs get`` was asked to do.

    Attributes:
        output: absolute.
        sha256: 64 lower-case digits, None where the content need not be known.
        timeout_s: for the whole fetch; None for no limit.
        supernodes: empty where an embedded one is started.
        resolver: the DNS server for ``srv://`` names, None for the system's.
        cache_directory: for a fetch without a daemon.
        cache_is_shared: nobody chose the directory, so another fetch may be using it: then a temporary one serves as well.
        alone: the command line says how to fetch, so no running daemon is asked.
        rate_limit: bytes per second for the whole host, 0 for no limit; None where it stays as it is.
        runtime_directories: where to look for running daemons, and for the host's limit.
    """

    url: RemoteUrl
    output: Path
    sha256: str | None
    timeout_s: float | None
    supernodes: tuple[Address | SrvName, ...]
    resolver: Address | None
    cache_directory: Path
    cache_is_shared: bool
    cache_limit_bytes: int | None
    verify: Verify
    no_origin: bool
    allow_origin: tuple[str, ...]
    origin_ca: Path | None
    piece_size: int | None
    rate_limit: int | None
    log_level: str
    alone: bool
    runtime_directories: tuple[Path, ...]


def read_get_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> GetConfig:
    """The configuration of ``flyfs get``; raises ConfigError."""
    about = "Fetches one file, through a running daemon of this host where there is one; the file appears when it is whole."
    flags, words = CommandLine("flyfs get", about, GET_OPTIONS, {"URL": "an http or https URL"}).split(arguments)
    settings = read_settings(GET_OPTIONS, flags, environment)
    url = read_url(words["url"])
    cache = path_in(settings, CACHE, mounts)
    return GetConfig(
        url=url,
        output=path_in(settings, OUTPUT, mounts) or Path(real_path(_name_in(url), mounts)),
        sha256=settings.get(SHA256),
        timeout_s=settings.get(TIMEOUT),
        supernodes=settings.all(SUPERNODES),
        resolver=settings.get(RESOLVER),
        cache_directory=cache or cache_home(environment) / "get",
        cache_is_shared=cache is None,
        cache_limit_bytes=settings.get(CACHE_LIMIT),
        verify=settings.need(VERIFY),
        no_origin=settings.on(NO_ORIGIN),
        allow_origin=settings.all(ALLOW_ORIGIN),
        origin_ca=readable_file(settings, ORIGIN_CA, mounts),
        piece_size=settings.get(PIECE_SIZE),
        rate_limit=settings.get(RATE_LIMIT),
        log_level=settings.need(QUIET_LOG_LEVEL),
        alone=any(settings.by_flag(option) for option in OWN_FETCH),
        runtime_directories=runtime_directories(settings, environment, mounts),
    )


def _name_in(url: RemoteUrl) -> str:
    name = url.segments[-1]
    if not name:
        raise ConfigError(f"{url.redacted()} names a directory; give a URL of a file, or say where to write it with -o FILE")
    return name
