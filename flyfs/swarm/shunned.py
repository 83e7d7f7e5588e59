"""Which peers are left alone, why, and until when: by own experience, or because a supernode said so. Pure."""

from dataclasses import dataclass

from flyfs.core.ids import PeerId

MOST_PEERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ShunnedPeer:
    """One of them; times are seconds of the caller's clock."""

    peer_id: PeerId
    address: str
    reason: str
    since: float
    until: float


class Shunned:
    """All of them; the one added first goes where there are too many."""

    def __init__(self) -> None:
        self._peers: dict[PeerId, ShunnedPeer] = {}

    def shun(self, peer: PeerId, address: str, reason: str, now: float, for_s: float) -> None:
        """Leave ``peer`` alone for so long, and never for a shorter time than was decided before."""
        known = self._peers.get(peer)
        if known is not None and known.until >= now + for_s:
            return
        self._peers.pop(peer, None)
        self._peers = {one.peer_id: one for one in self.peers(now)[-MOST_PEERS + 1 :]}
        self._peers[peer] = ShunnedPeer(peer_id=peer, address=address, reason=reason, since=now, until=now + for_s)

    def pardon(self, peer: PeerId) -> None:
        """It may be called again."""
        self._peers.pop(peer, None)

    def has(self, peer: PeerId, now: float) -> bool:
        """Whether ``peer`` is left alone now."""
        known = self._peers.get(peer)
        return known is not None and known.until > now

    def peers(self, now: float) -> list[ShunnedPeer]:
        """All that are left alone now, the one added last at the end."""
        return [one for one in self._peers.values() if one.until > now]
