"""Carries out isolation: hears what peers say of each other, tells those concerned, checks where it can. Shell.

What is decided is ``supernode.isolation``'s. Whoever is isolated reads on: it harms nobody.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

import structlog
import trio

from flyfs.core.ids import PeerId
from flyfs.wire.messages import Message, Report, Shun, Speeds
from supernode.isolation import Isolation, Measured, PeerIsolated, PeerRestored, Standing, Verdict
from supernode.members import Member, Members
from supernode.server.spot_check import SpotCheck

MOST_TOLD = 256
"""Who was sent to a peer last hears that it is isolated; who was sent there before them finds out."""

MOST_MEASURED = 64
"""Neighbours in one message that are looked at."""

log = structlog.get_logger(__name__)


class Isolating:
    """Of one supernode."""

    def __init__(
        self,
        members: Members,
        tell: Callable[[int, Message], None],
        check: SpotCheck,
        discount: Callable[[PeerId, bool], None],
        isolation: Isolation | None = None,
    ) -> None:
        """``tell`` sends news to the peer at a session; ``check`` asks an accused peer for the piece.

        ``discount`` is told whose pieces do not count (True), and whose do again.
        """
        self.isolation = isolation or Isolation()
        self._members = members
        self._tell = tell
        self._check = check
        self._discount = discount
        self._sent_to: OrderedDict[PeerId, OrderedDict[int, None]] = OrderedDict()  # peer: sessions that it was named to
        members.presentable = self._presentable

    # -- who is named to whom ------------------------------------------------------------------------------------------

    def _presentable(self, member: Member) -> bool:
        return self.isolation.standing(member.peer_id, trio.current_time()).state != "isolated"

    def peer_came(self, member: Member) -> None:
        """A peer opened its session, or was reached: one that is isolated hears of it again."""
        now = trio.current_time()
        if member.address:
            self.isolation.peer_came(member.peer_id, member.address, now)
        standing = self.isolation.standing(member.peer_id, now)
        if standing.state == "isolated":
            self._tell(member.session, Shun(peer_id=member.peer_id, reason=standing.reason, for_s=standing.until - now))

    def name(self, reader: PeerId, session: int, peers: Iterable[Member]) -> tuple[Member, ...]:
        """Those of ``peers`` to whom ``reader`` is sent."""
        now = trio.current_time()
        named = tuple(peer for peer in peers if self.isolation.may_meet(reader, peer.peer_id, now))
        for peer in named:
            self.isolation.named(reader, peer.peer_id, now)
            sessions = self._sent_to.setdefault(peer.peer_id, OrderedDict())
            sessions[session] = None
            sessions.move_to_end(session)
            if len(sessions) > MOST_TOLD:
                sessions.popitem(last=False)
        return named

    def peer_left(self, peer: PeerId) -> None:
        """It is gone: who was sent there finds out by itself."""
        self._sent_to.pop(peer, None)

    # -- what peers say ------------------------------------------------------------------------------------------------

    def told(self, reporter: PeerId, message: Report | Speeds) -> None:
        """A peer fared badly with another one, or tells how its neighbours do."""
        match message:
            case Report():
                self._reported(reporter, message)
            case Speeds():
                self._measured(reporter, message)

    def _reported(self, reporter: PeerId, message: Report) -> None:
        accused = self._members.find(message.peer_id)
        log.info("server.peer.reported", peer=message.peer_id, blob=message.blob_id, fault=message.fault, by=reporter)
        if accused is None:
            return
        now = trio.current_time()
        self._carry_out(self.isolation.reported(reporter, accused.peer_id, message.fault, now, accused.address), now)
        if message.fault == "corrupt" and message.piece is not None and self._presentable(accused):
            self._check.suspect(accused, message.blob_id, message.piece, self._proved)

    def _proved(self, accused: Member, reason: str) -> None:
        now = trio.current_time()
        self._carry_out(self.isolation.proved(accused.peer_id, reason, now, accused.address), now)

    def _measured(self, reporter: PeerId, message: Speeds) -> None:
        now = trio.current_time()
        known = [
            Measured(one.peer_id, one.size, one.busy_s, one.pieces)
            for one in message.measured[:MOST_MEASURED]
            if self._members.find(one.peer_id) is not None
        ]
        self._carry_out(self.isolation.speeds_reported(reporter, known, now), now)

    def _carry_out(self, verdicts: Iterable[Verdict], now: float) -> None:
        for verdict in verdicts:
            match verdict:
                case PeerIsolated(peer, standing):
                    for_s = standing.until - now
                    self._discount(peer, True)
                    log.warning(
                        "server.peer.isolated",
                        peer=peer,
                        reason=standing.reason,
                        reporters=standing.reporters,
                        for_s=round(for_s, 1),
                    )
                    self._tell_concerned(Shun(peer_id=peer, reason=standing.reason, for_s=for_s))
                case PeerRestored(peer):
                    self._discount(peer, False)
                    log.info("server.peer.restored", peer=peer)
                    self._tell_concerned(Shun(peer_id=peer, reason="", for_s=0.0))

    def _tell_concerned(self, message: Shun) -> None:
        """The peer itself, and who was sent to it."""
        member = self._members.find(message.peer_id)
        sessions = dict(self._sent_to.get(message.peer_id, ()))
        for session in (*((member.session,) if member is not None else ()), *sessions):
            self._tell(session, message)

    def isolated(self, most: int) -> list[tuple[PeerId, str, Standing]]:
        """Those that are isolated now, the latest first: id, address, and how they are seen on the loop's clock."""
        return self.isolation.isolated(trio.current_time())[::-1][:most]
