"""Every message of protocol version 1. Pure values.

A request carries an id that its reply repeats; an event has id 0 and no reply. Any request may be answered with ``Failed``.
Fields are checked against their types and limits when decoded (``schema.py``); meaning is checked by who handles them.
"""

from dataclasses import dataclass
from typing import ClassVar

from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import SignedDigests
from flyfs.core.remote import Entry

MAJOR = 1
"""A peer of another major version is refused."""
MINOR = 1
"""A greater minor version may send more messages and trailing fields; both are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Base of all messages; ``code`` is the number on the wire and never changes."""

    code: ClassVar[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A peer that the supernode introduces."""

    peer_id: PeerId
    address: str
    """``HOST:PORT`` where it serves pieces."""
    location: str = ""
    ticket: bytes = b""
    """What to show it with each ``GetPiece``; empty where the swarm has no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What the sender got from one neighbour since it last told."""

    peer_id: PeerId
    size: int
    """Verified bytes."""
    busy_s: float
    """For how long at least one request waited there."""
    pieces: int


# -- opening a connection ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """First message of whoever dialled."""

    code: ClassVar[int] = 1
    major: int
    minor: int
    peer_id: PeerId
    role: str
    """``peer`` or ``supernode``."""
    version: str
    """The program's version, for people."""
    address: str = ""
    """Where the sender serves pieces, empty for a leech."""
    location: str = ""
    """``region|zone|rack``, any prefix."""
    token: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Message):
    """The answer to ``Hello``; a refusal is ``Failed``."""

    code: ClassVar[int] = 2
    major: int
    minor: int
    peer_id: PeerId
    role: str
    version: str
    key: bytes = b""
    """A supernode's Ed25519 public key, with which it signs digests; empty from a peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Message):
    """A request could not be fulfilled; ``kind`` is one of ``core.errors.WIRE_ERRORS``."""

    code: ClassVar[int] = 3
    kind: str
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Message):
    """A request was fulfilled and there is nothing to tell."""

    code: ClassVar[int] = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """Is anybody there? Answered with ``Done``; sent by whoever heard nothing for a while."""

    code: ClassVar[int] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached(Message):
    """Event from a supernode: whether the address that the receiver gave in ``Hello`` leads to it."""

    code: ClassVar[int] = 6
    address: str
    """As others would be told it."""
    reason: str = ""
    """Why it does not, empty where it does. Then the receiver is served, and named to nobody."""


# -- what a supernode knows of remote names ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat(Message):
    """What is at ``url``? Answered with ``FileFound``, ``DirectoryFound`` or ``Failed``."""

    code: ClassVar[int] = 10
    url: str
    principal: str
    max_age_s: float
    """How old an answer may be; 0 asks the origin."""
    read: bool = False
    """The caller is about to read: the origin may be asked with a ranged GET that brings the first piece along."""
    pin: bool = False
    """Read content without a length whole, to learn it; the answer may take long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFound(Message):
    """Mirrors ``core.remote.RemoteFile``."""

    code: ClassVar[int] = 11
    blob: Blob | None
    modified_s: int | None
    age_s: float
    sequential: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFound(Message):
    """Mirrors ``core.remote.RemoteDirectory``."""

    code: ClassVar[int] = 12
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class List(Message):
    """The names in the directory ``url``, from position ``start`` of listing ``serial`` (0 for the newest)."""

    code: ClassVar[int] = 13
    url: str
    principal: str
    max_age_s: float
    serial: int = 0
    start: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Message):
    """One page of a listing; the next starts at ``start + len(entries)`` of the same ``serial`` while ``more``."""

    code: ClassVar[int] = 14
    serial: int
    start: int
    entries: tuple[Entry, ...]
    more: bool
    skipped: int
    age_s: float


# -- blobs: who has what -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Message):
    """To a supernode: I take part in this blob, and here is what I hold of it. Answered with ``Joined``."""

    code: ClassVar[int] = 20
    blob: Blob
    have: bytes
    durable: bytes
    reading: bool
    """Whether the sender wants pieces, and so neighbours; else it only offers what it holds."""
    ticket: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined(Message):
    """Neighbours for the blob; more may follow in ``Introduce``."""

    code: ClassVar[int] = 21
    neighbours: tuple[Neighbour, ...]
    crowded: bool = False
    """Many read it: the receiver asks the supernode only for what a reader waits for, and for what that offers (``Offer``)."""
    tell_every_s: float = 0.0
    """How often at most to tell the supernode what was gained (``Have``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduce(Message):
    """Event from a supernode: more neighbours for a blob that the receiver joined; the rest as in ``Joined``."""

    code: ClassVar[int] = 22
    blob_id: BlobId
    neighbours: tuple[Neighbour, ...]
    crowded: bool = False
    tell_every_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(Message):
    """Event to a supernode: the sender neither reads nor serves this blob any more."""

    code: ClassVar[int] = 23
    blob_id: BlobId


@dataclass(frozen=True, slots=True, kw_only=True)
class Have(Message):
    """Event: the sender now holds these pieces, as (first, count) runs; coalesced for at most 100 ms."""

    code: ClassVar[int] = 24
    blob_id: BlobId
    runs: tuple[tuple[int, int], ...]
    durable: bool = False
    """Whether they survive a crash of the sender; a *have* is told first, *durable* later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow(Message):
    """To a neighbour: tell me what you hold of this blob, now (``Holdings``) and as it grows (``Have``)."""

    code: ClassVar[int] = 25
    blob_id: BlobId
    ticket: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings(Message):
    """The sender's bitmaps of a blob (``core.bitmap``); both empty where it does not know the blob."""

    code: ClassVar[int] = 26
    have: bytes
    durable: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Message):
    """Event to a supernode: what went wrong with a peer (isolation is decided there)."""

    code: ClassVar[int] = 27
    peer_id: PeerId
    blob_id: BlobId
    fault: str
    """``unreachable``, ``slow``, ``corrupt`` or ``protocol``."""
    piece: int | None = None
    """Which piece was corrupt: the supernode may ask the peer for it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire(Message):
    """Event from a supernode: this blob is over or forked; drop it and never serve it again."""

    code: ClassVar[int] = 28
    blob_id: BlobId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked(Message):
    """Event to a supernode: two signed batches contradict each other, here they are. It checks both, and retires the blob."""

    code: ClassVar[int] = 29
    blob_id: BlobId
    batches: tuple[SignedDigests, ...]


# -- pieces --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPiece(Message):
    """Send me one piece. Answered with ``Piece``, ``NotHeld``, ``Busy``, ``Elsewhere`` or ``Failed``."""

    code: ClassVar[int] = 30
    blob_id: BlobId
    piece: int
    demand: bool
    """A reader is blocked on it: a supernode reads it from the origin before what is only wanted soon."""
    proof: bool
    """Send the signed digests along."""
    ahead: int = 0
    """How many pieces behind this one will be asked for soon, as far as anybody can tell: a supernode may read the origin in
    one go."""
    ticket: bytes = b""
    background: bool = False
    """No reader will want it soon: everything else goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece(Message):
    """Followed on the stream by exactly ``length`` raw bytes."""

    code: ClassVar[int] = 31
    piece: int
    length: int
    proof: SignedDigests | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotHeld(Message):
    """The piece is not here, or not any more; no fault of anybody."""

    code: ClassVar[int] = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy(Message):
    """Not now; ask again after ``retry_after_s``, or somebody else at once."""

    code: ClassVar[int] = 33
    retry_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere(Message):
    """A supernode's answer: these neighbours have the piece, or are receiving it; ask them first."""

    code: ClassVar[int] = 34
    holders: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDigests(Message):
    """The signed digests known of one manifest page (1,024 pieces). Answered with ``Digests``."""

    code: ClassVar[int] = 35
    blob_id: BlobId
    page: int
    ticket: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests(Message):
    """The batches known of a page, by first piece; none where nothing is known."""

    code: ClassVar[int] = 36
    batches: tuple[SignedDigests, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Message):
    """Event from a supernode: pieces that the crowd has few copies of; it would send them to the receiver."""

    code: ClassVar[int] = 37
    blob_id: BlobId
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hurry(Message):
    """Event to a supernode: a reader waits by now for a piece that the sender asked it for without ``demand``."""

    code: ClassVar[int] = 38
    blob_id: BlobId
    piece: int


# -- preheating ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm(Message):
    """To a supernode: hold all of this blob, reading what is missing behind everything else. Answered with ``Warmth``.

    It goes on for as long as somebody asks again, so that nothing has to be taken back.
    """

    code: ClassVar[int] = 40
    blob: Blob
    wait_s: float
    """How long the answer may be put off while not all of it is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth(Message):
    """How many pieces of the blob the supernode holds."""

    code: ClassVar[int] = 41
    held: int


# -- who does well -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds(Message):
    """Event to a supernode: how the sender's neighbours did, a few times in a download and at its end."""

    code: ClassVar[int] = 42
    blob_id: BlobId
    measured: tuple[Speed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shun(Message):
    """Event from a supernode: this peer is isolated; leave it alone. Where it is the receiver: nobody is sent to it."""

    code: ClassVar[int] = 43
    peer_id: PeerId
    reason: str
    for_s: float
    """0 where that is over."""


MESSAGES: dict[int, type[Message]] = {message.code: message for message in Message.__subclasses__()}
