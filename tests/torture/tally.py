"""What a run found. Pure."""

from dataclasses import dataclass, field

from flyfs.core.grid import MIB
from tests.torture.truth import Verdict


@dataclass(slots=True)
class Tally:
    """The sum of many verdicts."""

    judged: int = 0
    compared: int = 0
    promised: int = 0
    wrong: int = 0
    missing: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, name: str, verdict: Verdict) -> None:
        """One more; ``name`` is enough to come back to it."""
        self.judged += 1
        self.compared += verdict.compared
        self.promised += verdict.promised
        self.wrong += len(verdict.wrong)
        self.missing += len(verdict.missing)
        if not verdict.good:
            self.bad.append(f"{name}: wrong {verdict.wrong[:5]}, missing {verdict.missing[:5]}")

    def __str__(self) -> str:
        return (
            f"{self.judged} judged, {self.compared:,} pieces compared: {self.wrong} wrong; "
            f"{self.promised:,} promised: {self.missing} missing"
        )


@dataclass(slots=True)
class KillTally:
    """The sum of many kills.

    Attributes:
        compared: reads that were compared with the origin's file; ``wrong`` of them differed.
        again: bytes that were fetched although they had been durable.
        lost_bytes, lost_s: the most that a kill cost: what the store had and was not durable, and the time in which it had come.
        bad: what went wrong, for people.
    """

    kills: int = 0
    compared: int = 0
    wrong: int = 0
    again: int = 0
    lost_bytes: int = 0
    lost_s: float = 0.0
    bad: list[str] = field(default_factory=list)

    def killed(self, *, again: int, lost_bytes: int, lost_s: float) -> None:
        """One more."""
        self.kills += 1
        self.again += again
        self.lost_bytes = max(self.lost_bytes, lost_bytes)
        self.lost_s = max(self.lost_s, lost_s)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.compared:,} reads compared: {self.wrong} wrong; "
            f"{self.again} durable bytes fetched again; "
            f"at most {self.lost_bytes / MIB:.1f} MiB, and the last {self.lost_s:.2f} s, were lost"
        )
