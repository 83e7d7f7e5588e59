"""The outermost wrapper of every handler: only mapped errors leave it, and the mount outlives what nobody foresaw. Shell.

Any other exception would end ``pyfuse3.main`` and leave a dead mount behind.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import pyfuse3
import structlog

from flyfs.core.errors import FlyfsError
from flyfs.fuse.errno_map import UNFORESEEN, errno_of

log = structlog.get_logger()

H = TypeVar("H", bound=Callable[..., Awaitable[object]])


def answering(handler: H) -> H:
    """The handler with its errors translated; ``Cancelled`` and ``FUSEError`` pass."""
    request = handler.__name__

    @functools.wraps(handler)
    async def answer(self: object, *args: object) -> object:
        try:
            return await handler(self, *args)
        except Exception as error:
            raise translated(request, error) from error

    return cast("H", answer)


def translated(request: str, error: Exception) -> pyfuse3.FUSEError:
    """What the kernel is told of ``error``; a bug is logged with its traceback."""
    if isinstance(error, pyfuse3.FUSEError):
        return error
    if isinstance(error, FlyfsError):
        log.debug("fuse.request.failed", request=request, kind=error.kind, why=error.message)
        return pyfuse3.FUSEError(errno_of(error))
    log.error("fuse.request.crashed", request=request, exc_info=error)
    return pyfuse3.FUSEError(UNFORESEEN)
