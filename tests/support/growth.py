"""How a store grew, and how far back in time a crash threw it. Pure."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Growth:
    """Looks at the bytes that a store holds, in order of time."""

    looks: list[tuple[float, int]] = field(default_factory=list)

    def seen(self, when_s: float, held_bytes: int) -> None:
        """One more look."""
        self.looks.append((when_s, held_bytes))

    @property
    def held_bytes(self) -> int:
        """At the last look."""
        return self.looks[-1][1]

    def gained_within(self, seconds: float) -> int:
        """Bytes that came between the last look and the first one so long before."""
        from_s = self.looks[-1][0] - seconds
        return self.held_bytes - next(held for when_s, held in self.looks if when_s >= from_s)

    def age_of_last(self, size_bytes: int) -> float:
        """Seconds in which the last so many bytes came; 0 for none."""
        if size_bytes <= 0:
            return 0.0
        now_s = self.looks[-1][0]
        found = (when_s for when_s, held in reversed(self.looks) if self.held_bytes - held >= size_bytes)
        return now_s - next(found, self.looks[0][0])
