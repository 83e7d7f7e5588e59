"""What a blob is: immutable bytes of one remote name at one version. Pure.

The id commits to everything that tells versions and audiences apart, so whoever holds a ``Blob`` can check its id.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from blake3 import blake3

from flyfs.core.grid import MAX_PIECE_BYTES, MAX_PIECES, PieceGrid
from flyfs.core.ids import BlobId

_ID_CONTEXT = "flyfs 2026 blob id version 1"


class ValidatorKind(StrEnum):
    """How the origin tells versions apart, strongest first."""

    DIGEST = "digest"
    """The content's own sha256 (OCI): the origin is not even needed to tell."""
    ETAG = "etag"
    """A strong entity tag (RFC 9110, 8.8.3)."""
    MODIFIED = "modified"
    """Last-Modified (and the size): another second, another version."""
    NONE = "none"
    """Nothing: the content that the supernode read first is the version."""

    @property
    def strong(self) -> bool:
        """Whether equal validators prove equal bytes, so that the generation is 0."""
        return self in (ValidatorKind.DIGEST, ValidatorKind.ETAG)


@dataclass(frozen=True, slots=True)
class Validator:
    """What the origin says to tell versions apart; ``value`` exactly as it came, empty for kind NONE."""

    kind: ValidatorKind
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A remote name at one version.

    Attributes:
        url: canonical URL, without userinfo and fragment.
        principal: whose credential may read it; ``"public"`` where an anonymous request may.
        validator: what the origin says to tell versions apart.
        size: bytes.
        generation: 0 where the validator is strong, else a random number of the supernode that made the blob.
        piece_size: bytes per piece; follows from the size, except in tests.
    """

    url: str
    principal: str
    validator: Validator
    size: int
    generation: int
    piece_size: int
    id: BlobId = field(init=False)
    grid: PieceGrid = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.piece_size > MAX_PIECE_BYTES or self.size > MAX_PIECES * self.piece_size:
            raise ValueError(f"{self.size} bytes in pieces of {self.piece_size} are more than a blob may have")
        if self.validator.kind.strong and self.generation:
            raise ValueError("a blob with a strong validator has generation 0")
        if not 0 <= self.generation < 1 << 64:
            raise ValueError("a generation has 64 bits")
        parts = (self.url, self.principal, self.validator.kind.value, self.validator.value, str(self.size), str(self.generation))
        data = bytearray()
        for part in parts:  # length-prefixed, so that no two lists of parts hash alike
            text = part.encode("utf-8", "surrogateescape")
            data += len(text).to_bytes(8, "little") + text
        object.__setattr__(self, "id", BlobId(blake3(data, derive_key_context=_ID_CONTEXT).hexdigest()))
        object.__setattr__(self, "grid", PieceGrid(self.size, self.piece_size))
