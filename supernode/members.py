"""The peers that are connected. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from flyfs.core.ids import PeerId
from flyfs.core.location import region_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A connected peer.

    Attributes:
        session: number of the connection over which it can be told news; a peer that connects again gets a new one.
        address: where it serves other peers, empty for a leech.
    """

    peer_id: PeerId
    session: int
    address: str
    location: str
    """``region|zone|rack``, any prefix."""
    version: str

    @property
    def region(self) -> str:
        """The first label of its location."""
        return region_of(self.location)


class Members:
    """Who is connected, by peer id; a peer's newest connection counts."""

    def __init__(self) -> None:
        self._members: dict[PeerId, Member] = {}
        self.presentable: Callable[[Member], bool] = lambda _: True
        """Asked before a peer is named to others."""

    def came(self, member: Member) -> None:
        """A peer connected, perhaps again."""
        self._members[member.peer_id] = member

    def left(self, peer_id: PeerId, session: int) -> bool:
        """A connection ended; True where that was the peer's newest, so that the peer is gone."""
        member = self._members.get(peer_id)
        if member is None or member.session != session:
            return False
        del self._members[peer_id]
        return True

    def find(self, peer_id: PeerId) -> Member | None:
        """The peer, where it is connected."""
        return self._members.get(peer_id)

    def named(self, peer_id: PeerId) -> Member | None:
        """The peer, where it may be named to others: it is connected, can be reached, and is not isolated."""
        member = self._members.get(peer_id)
        return member if member is not None and member.address and self.presentable(member) else None

    def __len__(self) -> int:
        return len(self._members)

    def all(self) -> list[Member]:
        """Every connected peer."""
        return list(self._members.values())
