"""What ``flyfs status``, ``umount`` and ``limit`` were asked about this host. Shell: looks for links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyfs.config.options import JSON, LIMIT_OPTIONS, RECEIVE, SEND, STATUS_OPTIONS, UMOUNT_OPTIONS
from flyfs.config.places import mountpoint_in
from flyfs.config.settings import read_settings, runtime_directories
from flyfs.core.command_line import CommandLine, Option


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfig:
    """What ``flyfs status`` and ``flyfs umount`` were asked to do.

    Attributes:
        mountpoint: absolute, without symbolic links; None for all.
        runtime_directories: where to look for running daemons.
    """

    mountpoint: str | None
    json: bool
    runtime_directories: tuple[Path, ...]


def read_status_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> HostConfig:
    """The configuration of ``flyfs status``; raises ConfigError."""
    words = {"[MOUNTPOINT]": "the mount to tell about; all by default"}
    command = CommandLine("flyfs status", "Tells what mounts do.", STATUS_OPTIONS, words)
    return _host_config(command.split(arguments), STATUS_OPTIONS, environment, mounts)


def read_umount_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> HostConfig:
    """The configuration of ``flyfs umount``; raises ConfigError."""
    words = {"MOUNTPOINT": "the mount to end"}
    about = "Ends a mount and its daemon; returns once the mount is gone."
    command = CommandLine("flyfs umount", about, UMOUNT_OPTIONS, words)
    return _host_config(command.split(arguments), UMOUNT_OPTIONS, environment, mounts)


def _host_config(
    given: tuple[dict[str, list[str]], dict[str, str]],
    options: Sequence[Option[Any]],
    environment: Mapping[str, str],
    mounts: Sequence[str],
) -> HostConfig:
    flags, words = given
    settings = read_settings(options, flags, environment)
    return HostConfig(
        mountpoint=mountpoint_in(words["mountpoint"], mounts) if "mountpoint" in words else None,
        json=settings.on(JSON),
        runtime_directories=runtime_directories(settings, environment, mounts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """What ``flyfs limit`` was asked to do.

    Attributes:
        receive: bytes per second, 0 for no limit; None where it stays as it is.
        send: likewise.
        directories: where the host's limit may be shared.
    """

    receive: int | None
    send: int | None
    directories: tuple[Path, ...]


def read_limit_config(arguments: Sequence[str], environment: Mapping[str, str], mounts: Sequence[str] = ()) -> LimitConfig:
    """The configuration of ``flyfs limit``; raises ConfigError."""
    about = "Shows what flyfs may receive and send on this host, over all its processes; sets it where one is given."
    flags, _ = CommandLine("flyfs limit", about, LIMIT_OPTIONS, {}).split(arguments)
    settings = read_settings(LIMIT_OPTIONS, flags, environment)
    return LimitConfig(
        receive=settings.get(RECEIVE),
        send=settings.get(SEND),
        directories=runtime_directories(settings, environment, mounts),
    )
