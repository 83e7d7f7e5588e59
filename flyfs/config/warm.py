"""What ``flyfs warm`` was asked to do. Shell: looks for links, files and the own user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyfs.config.options import (
    ALLOW_ORIGIN,
    CACHE,
    CACHE_LIMIT,
    LOCAL,
    NO_ORIGIN,
    ORIGIN_CA,
    OWN_FETCH,
    PIECE_SIZE,
    QUIET_LOG_LEVEL,
    RATE_LIMIT,
    RESOLVER,
    SUPERNODE_ONLY,
    SUPERNODES,
    VERIFY,
    WARM_OPTIONS,
)  # fmt: skip
from flyfs.config.places import cache_home
from flyfs.config.settings import path_in, read_settings, readable_file, runtime_directories
from flyfs.config.url import read_url
from flyfs.core.address import Address, SrvName
from flyfs.core.command_line import CommandLine
from flyfs.core.errors import ConfigError
from flyfs.core.urls import RemoteUrl
from flyfs.core.verify import Verify


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmConfig:
    """What ``flyfs warm`` was asked to do.

    Attributes:
        urls: at least one.
        supernode_only: nothing comes to this host.
        supernodes: empty where an embedded one is started.
        cache_directory: of a fetch without a daemon; the one that ``flyfs get`` uses by default.
        alone: the command line says how to fetch, so no running daemon is asked.
        rate_limit: bytes per second for the whole host, 0 for no limit; None where it stays as it is.
        runtime_directories: where to look for running daemons, and for the host's limit.
    """

    urls: tuple[RemoteUrl, ...]
    supernode_only: bool
    supernodes: tuple[Address | SrvName, ...]
    resolver: Address | None
    cache_directory: Path
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


def read_warm_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> WarmConfig:
    """The configuration of ``flyfs warm``; raises ConfigError."""
    about = "Fetches files before anybody reads them, through the running daemons of this host where there are any."
    flags, words = CommandLine("flyfs warm", about, WARM_OPTIONS, {"URL...": "http or https URLs"}).split_all(arguments)
    settings = read_settings(WARM_OPTIONS, flags, environment)
    if settings.on(LOCAL) and settings.on(SUPERNODE_ONLY):
        raise ConfigError("--local and --supernode-only say opposite things; give one of them")
    return WarmConfig(
        urls=tuple(dict.fromkeys(map(_url, words["url"]))),
        supernode_only=settings.on(SUPERNODE_ONLY),
        supernodes=settings.all(SUPERNODES),
        resolver=settings.get(RESOLVER),
        cache_directory=path_in(settings, CACHE, mounts) or cache_home(environment) / "get",
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


def _url(text: str) -> RemoteUrl:
    if text.startswith("oci://"):
        raise ConfigError(f"{text}: warming an image comes with images, which are not in this version; give http or https URLs")
    url = read_url(text)
    if url.is_directory:
        raise ConfigError(f"{url.redacted()} names a directory; give the URLs of files")
    return url
