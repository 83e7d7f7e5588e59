"""What ``flyfs mount`` was asked to do. Shell: looks for links, files and the own user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flyfs.config.options import (
    ADVERTISE,
    ALLOW_ORIGIN,
    ALLOW_OTHER,
    CACHE,
    CACHE_LIMIT,
    CONSISTENCY,
    DEADLINE,
    FOREGROUND,
    INSECURE,
    LISTEN,
    LOCATION,
    LOG_LEVEL,
    MOUNT_OPTIONS,
    NO_ORIGIN,
    ORIGIN_CA,
    PIECE_SIZE,
    RATE_LIMIT,
    READY_PIPE,
    RESOLVER,
    RUNTIME_DIR,
    SUPERNODES,
    UMASK,
    VERIFY,
)  # fmt: skip
from flyfs.config.places import cache_home, mount_name, mountpoint_in, runtime_home
from flyfs.config.settings import path_in, read_settings, readable_file, runtime_directories
from flyfs.core.address import Address, SrvName, require_protection
from flyfs.core.command_line import CommandLine
from flyfs.core.errors import ConfigError
from flyfs.core.option_kinds import Consistency
from flyfs.core.verify import Verify

_PEER_PORT = 7402


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """What ``flyfs mount`` was asked to do.

    Attributes:
        mountpoint: absolute, without symbolic links; never touched by the daemon.
        name: of the mount, from the mountpoint; names the cache, the control socket and the locks.
        supernodes: empty where the daemon starts an embedded one.
        resolver: the DNS server for ``srv://`` names, None for the system's.
        cache_limit_bytes: None for no limit.
        verify: when pieces in the cache are proved again.
        listen: where other peers connect; port 0 picks one.
        listen_may_move: nobody chose the port: a free one, with a notice, where it is taken.
        advertise: None where peers are told the listener's own address.
        origin_ca: PEM file, None for the system's authorities.
        piece_size: bytes, None for what follows from a file's size.
        rate_limit: bytes per second for the whole host, 0 for no limit; None where it stays as it is.
        limit_directories: where the host's limit may be shared.
        location: ``region|zone|rack`` or a prefix, empty for unknown.
        ready_pipe: descriptor of the starting command's pipe, None in the foreground.
    """

    mountpoint: str
    name: str
    supernodes: tuple[Address | SrvName, ...]
    resolver: Address | None
    cache_directory: Path
    cache_limit_bytes: int | None
    verify: Verify
    runtime_directory: Path
    listen: Address
    listen_may_move: bool
    advertise: Address | None
    consistency: Consistency
    no_origin: bool
    allow_origin: tuple[str, ...]
    origin_ca: Path | None
    piece_size: int | None
    rate_limit: int | None
    limit_directories: tuple[Path, ...]
    location: str
    insecure: bool
    deadline_s: float
    umask: int
    allow_other: bool
    foreground: bool
    log_level: str
    ready_pipe: int | None

    @property
    def control_socket(self) -> Path:
        """Where the daemon answers the commands of this host."""
        return self.runtime_directory / f"{self.name}.sock"

    @property
    def lock_file(self) -> Path:
        """What the daemon locks as long as the mountpoint is its own."""
        return self.runtime_directory / f"{self.name}.lock"

    @property
    def log_file(self) -> Path:
        """Where a daemon in the background logs."""
        return self.cache_directory / "flyfs.log"


def read_mount_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> MountConfig:
    """The configuration of ``flyfs mount``; ``mounts`` are those of this host, not to be looked into. Raises ConfigError."""
    about = "Mounts remote files: returns once the mount answers."
    command = CommandLine("flyfs mount", about, MOUNT_OPTIONS, {"MOUNTPOINT": "an existing directory"})
    flags, words = command.split(arguments)
    settings = read_settings(MOUNT_OPTIONS, flags, environment)
    mountpoint = mountpoint_in(words["mountpoint"], mounts)
    mounts = (*mounts, mountpoint)
    name = mount_name(mountpoint)
    supernodes = settings.all(SUPERNODES)
    listen = settings.get(LISTEN) or _default_listen(supernodes)
    insecure = settings.on(INSECURE)
    require_protection(listen, insecure=insecure, source=settings.source(LISTEN))
    cache = path_in(settings, CACHE, mounts) or cache_home(environment) / name
    runtime = path_in(settings, RUNTIME_DIR, mounts) or runtime_home(environment)
    origin_ca = readable_file(settings, ORIGIN_CA, mounts)
    for path, option in ((cache, CACHE), (runtime, RUNTIME_DIR)):
        if path.is_relative_to(mountpoint):
            raise ConfigError(f"{settings.source(option)}: {path} lies under the mountpoint {mountpoint}; choose a place outside")
    return MountConfig(
        mountpoint=mountpoint,
        name=name,
        supernodes=supernodes,
        resolver=settings.get(RESOLVER),
        cache_directory=cache,
        cache_limit_bytes=settings.get(CACHE_LIMIT),
        verify=settings.need(VERIFY),
        runtime_directory=runtime,
        listen=listen,
        listen_may_move=settings.get(LISTEN) is None,
        advertise=settings.get(ADVERTISE),
        consistency=settings.need(CONSISTENCY),
        no_origin=settings.on(NO_ORIGIN),
        allow_origin=settings.all(ALLOW_ORIGIN),
        origin_ca=origin_ca,
        piece_size=settings.get(PIECE_SIZE),
        rate_limit=settings.get(RATE_LIMIT),
        limit_directories=runtime_directories(settings, environment, mounts),
        location=settings.get(LOCATION) or "",
        insecure=insecure,
        deadline_s=settings.need(DEADLINE),
        umask=settings.need(UMASK),
        allow_other=settings.on(ALLOW_OTHER),
        foreground=settings.on(FOREGROUND),
        log_level=settings.need(LOG_LEVEL),
        ready_pipe=settings.get(READY_PIPE),
    )


def _default_listen(supernodes: tuple[Address | SrvName, ...]) -> Address:
    """Where the swarm is on this host only, so is the listener; a swarm of several hosts must be able to reach it."""
    if not supernodes:
        return Address("127.0.0.1", 0)
    here = all(isinstance(supernode, Address) and supernode.loopback for supernode in supernodes)
    return Address("127.0.0.1" if here else "0.0.0.0", _PEER_PORT)
