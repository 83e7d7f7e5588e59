"""On the path of a supernode under test: whoever is isolated is on probation as soon as the file that the test names is there."""

import os
from pathlib import Path

from flyfs.core.ids import PeerId
from supernode.isolation import OPEN_S, Isolation, Standing

_now = Isolation.standing


def _later(self: Isolation, peer: PeerId, now: float) -> Standing:
    return _now(self, peer, now + OPEN_S[1] if Path(os.environ["PAROLE"]).exists() else now)


Isolation.standing = _later  # type: ignore[method-assign]
