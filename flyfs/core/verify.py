"""When pieces that lie on this disk are proved again before they are served. Pure."""

from enum import StrEnum


class Verify(StrEnum):
    """A policy, as people write it."""

    FIRST_USE = "first-use"
    """After an unclean stop, and where a data file was changed since the last clean one."""
    ALWAYS = "always"
    """After every start."""
    NEVER = "never"
    """What was marked durable is trusted."""
