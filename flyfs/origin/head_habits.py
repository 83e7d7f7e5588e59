"""What was learnt about how each origin answers HEAD. Pure.

Some origins refuse HEAD (405, 501, 403 where a signature covers GET only), answer it wrongly, or give less than with a GET of
one byte. Whoever once did is asked with ``GET Range: bytes=0-0`` from then on.
"""

_ORIGINS_REMEMBERED = 4096

DOUBTFUL_STATUSES = frozenset((400, 403, 405, 500, 501))
"""Answers to HEAD after which a GET may still work; 404 and 410 are believed."""


class HeadHabits:
    """Remembers origins (``scheme://authority``), the latest few thousand."""

    def __init__(self) -> None:
        self._refusing: dict[str, None] = {}
        self._zero_trusted: dict[str, None] = {}

    def refuses(self, origin: str) -> bool:
        """Whether HEAD is of no use there."""
        return origin in self._refusing

    def head_was_useless(self, origin: str) -> None:
        """A GET of one byte told what HEAD did not."""
        _remember(self._refusing, origin)

    def believes_length(self, origin: str, length: int | None) -> bool:
        """Whether a Content-Length in an answer to HEAD is taken for true.

        None never is, and 0 only once a GET confirmed one: frameworks that route HEAD to an empty handler answer 0 for all.
        """
        return length is not None and (length > 0 or origin in self._zero_trusted)

    def zero_was_confirmed(self, origin: str) -> None:
        """A file whose HEAD said 0 bytes has 0 bytes."""
        _remember(self._zero_trusted, origin)


def _remember(origins: dict[str, None], origin: str) -> None:
    origins[origin] = None
    if len(origins) > _ORIGINS_REMEMBERED:
        del origins[next(iter(origins))]
