"""The one error tree, branched by who must act. Pure.

Foreign exceptions are translated into these where the foreign library is called; errno exists only in
``flyfs/fuse/errno_map.py``. Fields are typed, the message is built from them and reads as one line for a person.
"""

from typing import ClassVar


class FlyfsError(Exception):
    """Base of everything flyfs raises on purpose; anything else that surfaces is a bug."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFound(FlyfsError):
    """The origin said that the name certainly does not exist (404, 410). Nothing to do: ENOENT."""

    kind = "not_found"


class Denied(FlyfsError):
    """The origin, or our own address policy, refuses (401, 403, a forbidden address). The operator must allow it."""

    kind = "denied"


class Unavailable(FlyfsError):
    """It cannot be known or fetched now: peer, origin or supernode down, overloaded, or out of time. Try again later."""

    kind = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unanswered(Unavailable):
    """The other side did not answer: the connection is lost, or it took too long. Ask somebody else."""


class Corrupt(FlyfsError):
    """Bytes do not match their digest, or a file of ours does not match its checksum. They are dropped and fetched again."""

    kind = "corrupt"


class ProtocolError(FlyfsError):
    """A message breaks the protocol; raised as one of the two below, which name the guilty side."""

    kind = "protocol"


class RemoteProtocolError(ProtocolError):
    """The other side sent something that the protocol forbids: its connection is closed."""

    kind = "remote_protocol"


class LocalProtocolError(ProtocolError):
    """We were about to send something that the protocol forbids: a bug on this side."""

    kind = "local_protocol"


class StoreFull(FlyfsError):
    """The store has no room (disk, quota or inodes). Bytes are still read through, but not kept."""

    kind = "store_full"


class Stale(FlyfsError):
    """This version of the file is over and nobody holds the bytes any more. Open the name again."""

    kind = "stale"


class TooLarge(FlyfsError):
    """The origin gives no length, and the content is larger than what may be pinned to learn it."""

    kind = "too_large"


class ConfigError(FlyfsError):
    """A mistake in arguments, environment or a configuration file; the message names the source, the key and what is accepted."""

    kind = "config"


#: What may cross the wire inside ``Failed``; everything else is told as ``unavailable``.
WIRE_ERRORS: dict[str, type[FlyfsError]] = {
    error.kind: error for error in (NotFound, Denied, Unavailable, Corrupt, RemoteProtocolError, StoreFull, Stale, TooLarge)
}


def error_from_wire(kind: str, message: str, retry_after_s: float | None = None) -> FlyfsError:
    """The error that a remote side named; an unknown kind is ``Unavailable``, because a newer side may know more kinds."""
    found = WIRE_ERRORS.get(kind, Unavailable)
    if found is Unavailable:
        return Unavailable(message, retry_after_s=retry_after_s)
    return found(message)


def told_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The expected failure in a group that nurseries wrapped it in; the group itself where anything else is in it."""
    told, rest = group.split(FlyfsError)
    if told is None or rest is not None:
        return group
    first: BaseException = told
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
