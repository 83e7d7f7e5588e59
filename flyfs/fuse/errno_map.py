"""Which errno a caller sees: the only place in flyfs that knows errno. Pure."""

import errno

from flyfs.core.errors import (
    ConfigError,
    Corrupt,
    Denied,
    FlyfsError,
    LocalProtocolError,
    NotFound,
    RemoteProtocolError,
    Stale,
    StoreFull,
    TooLarge,
    Unanswered,
    Unavailable,
)

READ_ONLY = errno.EROFS
NO_ATTRIBUTE = errno.ENODATA
NO_SUCH_ATTRIBUTES = errno.EOPNOTSUPP
UNFORESEEN = errno.EIO

ERRNO_OF: dict[type[FlyfsError], int] = {
    NotFound: errno.ENOENT,
    Denied: errno.EACCES,
    Unavailable: errno.EIO,
    Unanswered: errno.EIO,
    Corrupt: errno.EIO,
    RemoteProtocolError: errno.EIO,
    LocalProtocolError: errno.EIO,
    StoreFull: errno.EIO,
    Stale: errno.ESTALE,
    TooLarge: errno.EFBIG,
    ConfigError: errno.EIO,
}
"""One row per leaf of the error tree; what cannot be known or fetched is EIO, because ENOENT would be a lie."""


def errno_of(error: FlyfsError) -> int:
    """The errno of an error; of a branch that has no row of its own, ``UNFORESEEN``."""
    for kind in type(error).__mro__:
        if kind in ERRNO_OF:
            return ERRNO_OF[kind]
    return UNFORESEEN


def is_connection_gone(error: OSError) -> bool:
    """Whether an error of a call on a FUSE mount says that nobody serves it any more."""
    return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def is_absent(error: OSError) -> bool:
    """Whether an error says that there is no such thing."""
    return error.errno in (errno.ENOENT, errno.ENOTDIR)
