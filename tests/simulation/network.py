"""Bytes in virtual time: flows pass through pipes and share them as TCP does, nearly max-min fair.

Each pipe has a level: what a flow gets there that is not held back elsewhere; a flow's rate is the lowest level on its way. When
a flow begins or ends, the pipes on its way find their levels anew, and then those next to them; further away, levels wait for
their own next event. That leaves a little unused for a moment, and promises nothing that is not there.
"""

from collections.abc import Callable
from typing import Any

from tests.simulation.clock import Clock

NEVER = float("inf")

_UNCHANGED = 0.02
"""Rates that differ by less are the same: each change costs an event."""


class Pipe:
    """One direction of a line, in bytes per second."""

    __slots__ = ("flows", "level", "rate", "sent")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.level = rate
        self.flows: dict[Flow, None] = {}
        self.sent = 0


class Flow:
    """Bytes under way."""

    __slots__ = ("args", "due", "eta", "left", "pipes", "rate", "since", "size", "then")

    def __init__(self, pipes: tuple[Pipe, ...], size: int, then: Callable[..., None], args: tuple[Any, ...], now: float) -> None:
        self.pipes = pipes
        self.size = size
        self.left = float(size)
        self.rate = 0.0
        self.since = now
        self.eta = NEVER
        self.due = NEVER
        self.then = then
        self.args = args


class Network:
    """All flows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def begin(self, pipes: tuple[Pipe, ...], size: int, then: Callable[..., None], *args: Any) -> Flow:
        """Sends ``size`` bytes; once they are through, ``then`` happens."""
        flow = Flow(pipes, size, then, args, self._clock.now)
        for pipe in pipes:
            pipe.flows[flow] = None
        self._share(pipes)
        return flow

    def cut(self, flow: Flow) -> None:
        """The connection broke; nothing happens any more, if it did not happen before."""
        if flow in flow.pipes[0].flows:
            self._leave(flow)

    def _leave(self, flow: Flow) -> None:
        for pipe in flow.pipes:
            del pipe.flows[flow]
        self._share(flow.pipes)

    @staticmethod
    def _relevel(pipe: Pipe) -> bool:
        """Whether the level rose."""
        count = len(pipe.flows)
        if not count:
            pipe.level = pipe.rate
            return False
        rest = pipe.rate
        share = rest / count
        caps: list[float] = []
        for flow in pipe.flows:
            cap = NEVER
            for other in flow.pipes:
                if other is not pipe and other.level < cap:
                    cap = other.level
            if cap < share:
                rest -= cap
                count -= 1
            else:
                caps.append(cap)
        while count:  # those below the equal share are out; what they leave raises the share of the others
            share = rest / count
            more = [cap for cap in caps if cap >= share]
            if len(more) == len(caps):
                break
            rest -= sum(caps) - sum(more)
            caps, count = more, len(more)
        level = share if count else max(rest, share)
        rose = level > pipe.level * 1.001
        pipe.level = level
        return rose

    def _share(self, pipes: tuple[Pipe, ...]) -> None:
        touched = dict.fromkeys(pipes)
        for pipe in pipes:
            if self._relevel(pipe):
                for flow in pipe.flows:
                    for other in flow.pipes:
                        touched[other] = None
        for pipe in list(touched)[len(pipes) :]:
            self._relevel(pipe)
        for pipe in touched:
            for flow in pipe.flows:
                rate = min([each.level for each in flow.pipes])
                old = flow.rate
                if not (1 - _UNCHANGED) * old < rate < (1 + _UNCHANGED) * old:
                    self._run(flow, rate)

    def _run(self, flow: Flow, rate: float) -> None:
        now = self._clock.now
        flow.left -= (now - flow.since) * flow.rate
        flow.since = now
        flow.rate = rate
        flow.eta = now + flow.left / rate
        if flow.eta < flow.due:
            flow.due = flow.eta
            self._clock.at(flow.eta, self._due, flow, flow.eta)

    def _due(self, flow: Flow, due: float) -> None:
        if due != flow.due or flow not in flow.pipes[0].flows:
            return
        if flow.eta > self._clock.now:
            flow.due = flow.eta
            self._clock.at(flow.eta, self._due, flow, flow.eta)
            return
        for pipe in flow.pipes:
            pipe.sent += flow.size
        self._leave(flow)
        flow.then(*flow.args)
