"""The configuration of ``flyfs-supernode``, read once at the edge and frozen. Shell: reads one file and the variables."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyfs.core import option_kinds as kinds
from flyfs.core.address import Address, require_protection
from flyfs.core.command_line import CommandLine, Option
from flyfs.core.errors import ConfigError
from flyfs.core.settings import Settings, load
from flyfs.core.verify import Verify

_CONFIG = Option(
    name="config", kind=kinds.PATH, default="/etc/flyfs/supernode.toml", help="settings in TOML; the default may be missing"
)
_LISTEN = Option(name="listen", kind=kinds.ADDRESS, default="127.0.0.1:7400", help="where peers connect")
_HTTP = Option(name="http", kind=kinds.ADDRESS, default="127.0.0.1:7401", help="web: /healthz and /api/status")
_CACHE = Option(name="cache", kind=kinds.PATH, help="directory for blobs and keys; one supernode each")
_CACHE_LIMIT = Option(name="cache-limit", kind=kinds.SIZE, help="bytes that the cache may use")
_VERIFY = Option(
    name="verify", kind=kinds.VERIFY, default="first-use", help="when what lies in the cache is proved again before it is served"
)
_ALLOW_ORIGIN = Option(
    name="allow-origin", kind=kinds.ORIGIN, repeatable=True, help="origins to allow that are refused by default"
)
_ORIGIN_CA = Option(name="origin-ca", kind=kinds.PATH, help="PEM file of authorities to trust for https origins")
_INSECURE = Option(name="insecure", kind=kinds.SWITCH, help="listen beyond loopback without a token or TLS")
_PIECE_SIZE = Option(
    name="piece-size", kind=kinds.PIECE_SIZE, help="for tests and benchmarks: bytes per piece, whatever a file's size"
)
_KEY_FILE = Option(name="key-file", kind=kinds.PATH, help="the fleet's private key, 32 bytes; none: one of its own is made")
_LOG_LEVEL = Option(name="log-level", kind=kinds.LEVEL, default="info", help="least important message that is logged")
_EMBEDDED = Option(
    name="embedded", kind=kinds.SWITCH, hidden=True, help="keep digests, not bytes; end with the daemon that started it"
)
_PARENT_PIPE = Option(
    name="parent-pipe", kind=kinds.DESCRIPTOR, hidden=True, help="read end of a pipe whose other end the daemon holds"
)

_RATE_LIMIT = Option(
    name="rate-limit", kind=kinds.RATE, help="what flyfs may receive, and send, on the whole host: this supernode and all mounts"
)
_RUNTIME_DIR = Option(name="runtime-dir", kind=kinds.PATH, help="where the host's rate limit is shared")
_EXPORT = Option(name="export", kind=kinds.TEXT, repeatable=True, planned=True, help="directories to serve as origins")
_PLANNED = tuple(
    Option(name=name, kind=kinds.PATH, planned=True, help="comes later")
    for name in ("token-file", "tls-cert", "tls-key", "tls-ca")
)

SUPERNODE_OPTIONS: tuple[Option[Any], ...] = (
    _LISTEN,
    _HTTP,
    _CACHE,
    _CACHE_LIMIT,
    _VERIFY,
    _ALLOW_ORIGIN,
    _ORIGIN_CA,
    _INSECURE,
    _PIECE_SIZE,
    _KEY_FILE,
    _LOG_LEVEL,
    _CONFIG,
    _EMBEDDED,
    _PARENT_PIPE,
    _RATE_LIMIT,
    _RUNTIME_DIR,
    _EXPORT,
    *_PLANNED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernodeConfig:
    """What ``flyfs-supernode`` was asked to do.

    Attributes:
        listen: where peers connect; port 0 picks one.
        http: where the web answers; None for an embedded supernode that was given none.
        cache_limit_bytes: None for no limit.
        verify: when pieces in the cache are proved again.
        allow_origin: networks and lower-case host names.
        origin_ca: PEM file, None for the system's authorities.
        piece_size: bytes, None for what follows from a file's size.
        key_file: the private key that all supernodes of a fleet share; None where it has one of its own.
        rate_limit: bytes per second for the whole host, 0 for no limit; None where it stays as it is.
        limit_directories: where the host's limit may be shared.
        embedded: digests, keys and blob heads are kept, not bytes; loopback origins are allowed.
        parent_pipe: descriptor that ends (EOF) with the daemon; None for a supernode of its own.
    """

    listen: Address
    http: Address | None
    cache_directory: Path
    cache_limit_bytes: int | None
    verify: Verify
    allow_origin: tuple[str, ...]
    origin_ca: Path | None
    insecure: bool
    piece_size: int | None
    key_file: Path | None
    rate_limit: int | None
    limit_directories: tuple[Path, ...]
    log_level: str
    embedded: bool
    parent_pipe: int | None

    @property
    def log_file(self) -> Path | None:
        """Where an embedded supernode logs; one of its own logs to stderr."""
        return self.cache_directory / "supernode.log" if self.embedded else None


def read_supernode_config(arguments: Sequence[str], environment: Mapping[str, str]) -> SupernodeConfig:
    """The configuration of ``flyfs-supernode``.

    Raises:
        ConfigError: a mistake in it; nothing has been started.
    """
    flags, _ = command_line().split(arguments)
    settings = _load(flags, environment)
    embedded = settings.on(_EMBEDDED)
    if (settings.get(_PARENT_PIPE) is None) == embedded:
        raise ConfigError("--embedded and --parent-pipe belong together; they are for a daemon that starts its own supernode")
    listen = settings.need(_LISTEN)
    http = None if embedded and not settings.by_flag(_HTTP) else settings.need(_HTTP)
    insecure = settings.on(_INSECURE)
    require_protection(listen, insecure=insecure, source=settings.source(_LISTEN))
    if http is not None:
        require_protection(http, insecure=insecure, source=settings.source(_HTTP))
    return SupernodeConfig(
        listen=listen,
        http=http,
        cache_directory=_cache_directory(settings, environment),
        cache_limit_bytes=settings.get(_CACHE_LIMIT),
        verify=settings.need(_VERIFY),
        allow_origin=settings.all(_ALLOW_ORIGIN),
        origin_ca=_readable_file(settings, _ORIGIN_CA),
        insecure=insecure,
        piece_size=settings.get(_PIECE_SIZE),
        key_file=_private_file(settings, _KEY_FILE),
        rate_limit=settings.get(_RATE_LIMIT),
        limit_directories=_limit_directories(settings, environment),
        log_level=settings.need(_LOG_LEVEL),
        embedded=embedded,
        parent_pipe=settings.get(_PARENT_PIPE),
    )


def command_line() -> CommandLine:
    """The arguments of ``flyfs-supernode``."""
    about = "Coordinates peers and asks origins once; runs in the foreground and prints a line when it serves."
    return CommandLine("flyfs-supernode", about, SUPERNODE_OPTIONS, {})


def _load(flags: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    # An embedded supernode is told everything by its daemon: what the variables and files of this host say is meant for others.
    alone = "embedded" not in flags
    return load(
        SUPERNODE_OPTIONS,
        flags=flags,
        environment=environment if alone else {},
        config=_CONFIG,
        read_text=_read_text if alone else _read_nothing,
        file_options=SUPERNODE_OPTIONS,
    )


def _read_text(path: str) -> str:
    return Path(path).read_text("utf-8")


def _read_nothing(_path: str) -> str:
    return ""


def _cache_directory(settings: Settings, environment: Mapping[str, str]) -> Path:
    chosen = settings.get(_CACHE)
    if chosen is not None:
        return Path(chosen).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/flyfs/supernode")
    return _cache_home(environment) / "supernode"


def _cache_home(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME", "")
    below = Path(home) if home.startswith("/") else Path(environment.get("HOME") or Path.home()) / ".cache"
    return below / "flyfs"


def _limit_directories(settings: Settings, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The one that was chosen; else the user's own, and the host's."""
    chosen = settings.get(_RUNTIME_DIR)
    if chosen is not None:
        return (Path(chosen).absolute(),)
    host = Path("/run/flyfs")
    if os.geteuid() == 0:
        return (host,)
    below = environment.get("XDG_RUNTIME_DIR", "")
    own = Path(below) / "flyfs" if below.startswith("/") else _cache_home(environment) / "run"
    return (own, host)


def _private_file(settings: Settings, option: Option[str]) -> Path | None:
    """As ``_readable_file``, for one that everybody on the host must not read."""
    path = _readable_file(settings, option)
    if path is not None and path.stat().st_mode & stat.S_IROTH:
        raise ConfigError(f"{settings.source(option)}: everybody can read {path}; chmod 600 it")
    return path


def _readable_file(settings: Settings, option: Option[str]) -> Path | None:
    chosen = settings.get(option)
    if chosen is None:
        return None
    path = Path(chosen).absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"{settings.source(option)}: {path} is not a file that can be read")
    return path
