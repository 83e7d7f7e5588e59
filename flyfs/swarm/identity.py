"""What a peer tells others of itself when they meet. Pure."""

from dataclasses import dataclass

from flyfs.core.ids import PeerId
from flyfs.wire.messages import MAJOR, MINOR, Hello, Welcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this peer is.

    Attributes:
        version: of the program.
        address: where other peers reach this one, ``HOST:PORT``; empty for a leech.
        location: ``region|zone|rack`` or a prefix, empty for unknown.
    """

    peer_id: PeerId
    version: str
    address: str
    location: str

    def hello(self) -> Hello:
        """How this peer greets whoever it calls."""
        return Hello(
            major=MAJOR,
            minor=MINOR,
            peer_id=self.peer_id,
            role="peer",
            version=self.version,
            address=self.address,
            location=self.location,
        )

    def welcome(self, _: Hello) -> Welcome:
        """The answer to another peer's greeting. Peers sign nothing, so there is no key."""
        return Welcome(major=MAJOR, minor=MINOR, peer_id=self.peer_id, role="peer", version=self.version, key=b"")
