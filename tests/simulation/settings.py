"""What is simulated: the seed product's benchmark by default (200 MiB to clients of 200 Mbit/s)."""

from dataclasses import dataclass
from enum import Enum

from flyfs.core.grid import MIB

LINE_BYTES_PER_S = 25_000_000


class Reading(Enum):
    """How each peer reads the file."""

    BULK = "bulk"
    """It wants all of it, in whatever order."""
    SEQUENTIAL = "sequential"
    """From start to end: the next piece is demanded, and the windows of the real read-ahead are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run; times in seconds, rates in bytes per second and direction."""

    peers: int
    seed: int = 0
    reading: Reading = Reading.BULK
    pieces: int = 200
    piece_bytes: int = MIB
    rate: float = LINE_BYTES_PER_S
    supernode_rate: float = 10 * LINE_BYTES_PER_S
    """The benchmark had two servers of 2 Gbit/s; one file has one supernode."""
    origin_rate: float = 10 * LINE_BYTES_PER_S
    arrivals_s: float = 0.05
    """All come within this time; a flash crowd by default."""
    delay_s: float = 0.001
    """Each message, one way."""
    work_s: float = 0.001
    """From a request to the first byte of its answer, and from the last byte to its being proved and written."""
    slow: float = 0.0
    """This share of the peers sends at a hundredth of the rate."""
    liars: int = 0
    """So many peers say they hold everything, and send wrong bytes."""
    deaths: int = 0
    """So many peers vanish within the first half."""
    supernode_lost_s: float | None = None
    """When the supernode vanishes; another one, that knows nothing, takes over once a peer notices."""
    regions: int = 1
    region_line: float | None = None
    """The rate of the line between two regions; the supernode and the origin are in the first."""
    until_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.slow <= 1:
            raise ValueError(f"slow is a share of the peers, not {self.slow:g}")
        if self.peers - self.liars - self.deaths < 1 or min(self.pieces, self.regions) < 1:
            raise ValueError("nobody is left who reads anything")

    @property
    def line_time_s(self) -> float:
        """What an unhindered line takes for the file."""
        return self.pieces * self.piece_bytes / self.rate
