"""Where things lie on this host, and what they are called there. Shell: asks for symbolic links and the own user.

No path below a mountpoint is ever touched: whether a path lies there is decided on its text and on symbolic links above it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from flyfs.core.errors import ConfigError


def cache_home(environment: Mapping[str, str]) -> Path:
    """Where caches lie by default: ``/var/cache/flyfs`` as root, the user's own cache directory otherwise."""
    if os.geteuid() == 0:
        return Path("/var/cache/flyfs")
    return Path(_absolute(environment.get("XDG_CACHE_HOME")) or Path(environment.get("HOME") or Path.home()) / ".cache") / "flyfs"


def runtime_home(environment: Mapping[str, str]) -> Path:
    """Where control sockets and locks lie by default: ``/run/flyfs`` as root, ``$XDG_RUNTIME_DIR/flyfs`` otherwise."""
    if os.geteuid() == 0:
        return Path("/run/flyfs")
    below = _absolute(environment.get("XDG_RUNTIME_DIR"))
    return Path(below) / "flyfs" if below else cache_home(environment) / "run"


def mount_name(mountpoint: str) -> str:
    """A file name for a mountpoint: readable, and told apart by a hash of the whole path."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", mountpoint.strip("/"))[-32:].strip("-.")
    return f"{readable or 'mount'}-{blake2b(os.fsencode(mountpoint), digest_size=4).hexdigest()}"


def mountpoint_in(text: str, mounts: Sequence[str]) -> str:
    """A mountpoint that a person typed, as the kernel names it; raises ConfigError."""
    path = real_path(text, mounts)
    if not text or path == "/":
        raise ConfigError(f"{text!r} cannot be a mountpoint; choose a directory below /")
    return path


def real_path(text: str, mounts: Sequence[str] = ()) -> str:
    """``text`` as an absolute path without symbolic links.

    Only links are asked for, never attributes, and nothing below ``mounts``: so one whose daemon hangs does not stop us.
    """
    left = [*Path.cwd().parts[1:], *text.split("/")] if not text.startswith("/") else text.split("/")
    found = Path("/")
    for _ in range(4096):  # beyond any path of the kernel's (4096 bytes): a circle of links
        if not left:
            return str(found)
        part = left.pop(0)
        if part == "..":
            found = found.parent
            continue
        if any(found.is_relative_to(mount) for mount in mounts):
            found /= part
            continue
        try:
            target = (found / part).readlink()
        except OSError:  # no link, or nothing there
            found /= part
            continue
        left[:0] = target.parts[1:] if target.is_absolute() else target.parts
        found = Path("/") if target.is_absolute() else found
    raise ConfigError(f"{text}: too many symbolic links")


def _absolute(text: str | None) -> str | None:
    return text if text and text.startswith("/") else None  # the XDG specification: a relative one is to be ignored
