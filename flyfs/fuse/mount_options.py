"""What libfuse is told when it mounts. Pure."""

from flyfs.core.errors import ConfigError
from flyfs.core.mountinfo import SUBTYPE

SOURCE = "flyfs:"
"""With a colon, as network filesystems have it: tools take a bare word for a path of this host."""


def mount_options(*, root: bool, allow_other: bool, user_allow_other: bool) -> set[str]:
    """Mount options.

    ``max_read`` is not among them: libfuse accepts it only together with a field that pyfuse3 does not set, and refuses to
    serve otherwise. Reads are as large as the kernel's 256 pages (1 MiB) anyway.

    Args:
        root: whether the mounting user is root; then everybody may look, as on any filesystem.
        allow_other: whether other users are to be let in.
        user_allow_other: whether ``/etc/fuse.conf`` lets users do so.

    Raises:
        ConfigError: others are to be let in, and the system does not allow it.
    """
    options = {f"fsname={SOURCE}", f"subtype={SUBTYPE}", "ro", "nosuid", "nodev", "default_permissions"}
    if allow_other and not root and not user_allow_other:
        raise ConfigError("--allow-other needs a line 'user_allow_other' in /etc/fuse.conf, or root")
    if allow_other or root:
        options.add("allow_other")
    return options


def lets_users_allow_others(fuse_conf: str) -> bool:
    """Whether the text of ``/etc/fuse.conf`` holds ``user_allow_other``."""
    return any(line.strip() == "user_allow_other" for line in fuse_conf.splitlines())
