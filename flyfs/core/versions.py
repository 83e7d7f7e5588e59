"""Which blob a remote name is, by what its origin said. Pure, but for the random generations it is given.

The generation tells blobs apart where the validator is weak: it is a number of the supernode that made the blob (or of the peer,
while no supernode answers), and kept with the blob on disk.
"""

from collections.abc import Callable

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.errors import TooLarge
from flyfs.core.grid import MAX_PIECE_BYTES, MAX_PIECES, piece_size_for

_Weak = tuple[str, str, Validator, int]


class VersionBook:
    """Makes blobs, and remembers the generation of the weak ones."""

    def __init__(self, new_generation: Callable[[], int], piece_size: int | None = None) -> None:
        """``piece_size`` overrides the rule, for tests and benchmarks."""
        self._new_generation = new_generation
        self._piece_size = piece_size
        self._generations: dict[_Weak, int] = {}
        self._urls: set[str] = set()

    def learn(self, blob: Blob) -> None:
        """A blob of an earlier run, or of a peer that outlived our memory; what we said ourselves stays."""
        self._urls.add(blob.url)
        if not blob.validator.kind.strong:
            self._generations.setdefault(_weak(blob), blob.generation)

    def has_read(self, url: str) -> bool:
        """Whether somebody holds a version of ``url`` already, so that reading along with a question may be for nothing."""
        return url in self._urls

    def blob_of(self, url: str, principal: str, validator: Validator, size: int) -> Blob:
        """The blob of a name at the version that ``validator`` and ``size`` tell.

        Raises:
            TooLarge: more than 16 TiB (with ``--piece-size``, less): its bitmaps would not fit into a frame.
        """
        piece_size = self.piece_size(size)
        if piece_size > MAX_PIECE_BYTES or size > MAX_PIECES * piece_size:
            raise TooLarge(f"{url} has {size} bytes, more than {MAX_PIECES} pieces can hold")
        key = (url, principal, validator, size)
        generation = 0
        if not validator.kind.strong:
            generation = self._generations.get(key) or self._generations.setdefault(key, self._new_generation())
        return Blob(
            url=url,
            principal=principal,
            validator=validator,
            size=size,
            generation=generation,
            piece_size=piece_size,
        )

    def piece_size(self, size: int) -> int:
        """Bytes per piece of a blob of ``size`` bytes."""
        return self._piece_size or piece_size_for(size)

    def forget(self, blob: Blob) -> None:
        """The blob turned out to be of another version: the next one gets a new generation."""
        if not blob.validator.kind.strong:
            self._generations.pop(_weak(blob), None)

    @staticmethod
    def needs_whole_read(validator: Validator) -> bool:
        """Whether only a single answer of the origin is surely one version, because nothing tells versions apart."""
        return validator.kind is ValidatorKind.NONE


def _weak(blob: Blob) -> _Weak:
    return (blob.url, blob.principal, blob.validator, blob.size)
