"""One value of every message, with each field set; what the golden bytes and the decoder's tests are made of.

After a field was appended to a message, ``python -m tests.flyfs.wire.samples`` prints the new table for ``test_golden.py``.
"""

from flyfs.core.blob import Blob, Validator, ValidatorKind
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import SignedDigests
from flyfs.core.remote import Entry, EntryKind
from flyfs.wire.codec import encode
from flyfs.wire.messages import (
    Busy,
    Digests,
    DirectoryFound,
    Done,
    Elsewhere,
    Failed,
    FileFound,
    Follow,
    Forked,
    GetDigests,
    GetPiece,
    Have,
    Hello,
    Holdings,
    Hurry,
    Introduce,
    Join,
    Joined,
    Leave,
    List,
    Listed,
    Message,
    Neighbour,
    NotHeld,
    Offer,
    Piece,
    Ping,
    Reached,
    Report,
    Retire,
    Shun,
    Speed,
    Speeds,
    Stat,
    Warm,
    Warmth,
    Welcome,
)

BLOB = Blob(
    url="http://o.test/a",
    principal="public",
    validator=Validator(ValidatorKind.MODIFIED, "Sat, 01 Jan 2022 00:00:00 GMT"),
    size=300_000,
    generation=(1 << 64) - 1,
    piece_size=262_144,
)
BLOB_ID = BlobId("ab" * 32)
PEER_ID = PeerId("cd" * 16)
NEIGHBOUR = Neighbour(peer_id=PEER_ID, address="127.0.0.1:7402", location="eu|a", ticket=b"t")
BATCH = SignedDigests(blob_id=BLOB_ID, first=2, digests=b"\x01" * 32, key=b"\x02" * 32, signature=b"\x03" * 64)
ENTRY = Entry(name="x\udcff", kind=EntryKind.FILE, size=5, modified_s=60, modified_exact=True, query="q=1")

SAMPLES: tuple[Message, ...] = (
    Hello(major=1, minor=0, peer_id=PEER_ID, role="peer", version="0.1.0", address=":7402", location="eu|a", token=b"k"),
    Welcome(major=1, minor=0, peer_id=PEER_ID, role="supernode", version="0.1.0", key=b"\x02" * 32),
    Failed(kind="unavailable", message="busy", retry_after_s=1.5),
    Done(),
    Ping(),
    Reached(address="127.0.0.1:7402", reason="refused"),
    Stat(url="http://o.test/a", principal="public", max_age_s=10.0, read=True, pin=True),
    FileFound(blob=BLOB, modified_s=60, age_s=0.5, sequential=True),
    DirectoryFound(age_s=0.5),
    List(url="http://o.test/", principal="public", max_age_s=10.0, serial=3, start=1000),
    Listed(serial=3, start=1000, entries=(ENTRY,), more=True, skipped=2, age_s=0.5),
    Join(blob=BLOB, have=b"\x03", durable=b"\x01", reading=True, ticket=b"t"),
    Joined(neighbours=(NEIGHBOUR,), crowded=True, tell_every_s=2.5),
    Introduce(blob_id=BLOB_ID, neighbours=(NEIGHBOUR,), crowded=True, tell_every_s=2.5),
    Leave(blob_id=BLOB_ID),
    Have(blob_id=BLOB_ID, runs=((0, 3), (7, 1)), durable=True),
    Follow(blob_id=BLOB_ID, ticket=b"t"),
    Holdings(have=b"\x03", durable=b"\x01"),
    Report(peer_id=PEER_ID, blob_id=BLOB_ID, fault="corrupt", piece=7),
    Retire(blob_id=BLOB_ID, reason="forked"),
    Forked(blob_id=BLOB_ID, batches=(BATCH,)),
    GetPiece(blob_id=BLOB_ID, piece=1, demand=True, proof=True, ahead=8, ticket=b"t", background=True),
    Piece(piece=1, length=37_856, proof=BATCH),
    NotHeld(),
    Busy(retry_after_s=0.25),
    Elsewhere(holders=(NEIGHBOUR,)),
    GetDigests(blob_id=BLOB_ID, page=1, ticket=b"t"),
    Digests(batches=(BATCH,)),
    Offer(blob_id=BLOB_ID, pieces=(3, 4)),
    Hurry(blob_id=BLOB_ID, piece=3),
    Warm(blob=BLOB, wait_s=1.0),
    Warmth(held=3),
    Speeds(blob_id=BLOB_ID, measured=(Speed(peer_id=PEER_ID, size=300_000, busy_s=1.5, pieces=2),)),
    Shun(peer_id=PEER_ID, reason="lies", for_s=5.0),
)


def golden_table() -> str:
    """The table for ``test_golden.py``: a line of hexadecimal digits per 56 bytes."""
    lines = ["GOLDEN = {"]
    for message in SAMPLES:
        digits = encode(message, 5).hex()
        lines.append(f'    "{type(message).__name__}": (')
        lines.extend(f'        "{digits[at : at + 112]}"' for at in range(0, len(digits), 112))
        lines.append("    ),")
    return "\n".join([*lines, "}"])


if __name__ == "__main__":
    print(golden_table())
