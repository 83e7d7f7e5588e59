"""How many of a group hold each piece, counted for all pieces at once. Pure.

The counts are bit-sliced: plane ``k`` is the set of pieces whose count has bit ``k``. Adding a holder's pieces is a ripple carry
over whole sets, and the rarest of any set are found by one ``and not`` per plane, so neither depends on how many pieces there are
in any other way than the length of a Python integer.
"""


class Copies:
    """Counts of holders per piece; sets of pieces are masks (``core.masks``)."""

    __slots__ = ("_planes",)

    def __init__(self) -> None:
        self._planes: list[int] = []

    def add(self, pieces: int) -> None:
        """One more holder of each of ``pieces``."""
        planes = self._planes
        carry = pieces
        for at, plane in enumerate(planes):
            if not carry:
                return
            planes[at] = plane ^ carry
            carry &= plane
        if carry:
            planes.append(carry)

    def remove(self, pieces: int) -> None:
        """One holder less of each of ``pieces``, all of which have one."""
        planes = self._planes
        borrow = pieces
        for at, plane in enumerate(planes):
            if not borrow:
                break
            planes[at] = plane ^ borrow
            borrow &= ~plane
        assert not borrow, "more holders left than came"
        while planes and not planes[-1]:
            planes.pop()

    def count(self, piece: int) -> int:
        """How many hold ``piece``."""
        return sum((plane >> piece & 1) << at for at, plane in enumerate(self._planes))

    def held(self) -> int:
        """The pieces that somebody holds."""
        held = 0
        for plane in self._planes:
            held |= plane
        return held

    def fewest(self, among: int) -> int:
        """Those of ``among`` that the fewest hold; all of them are held equally often."""
        for plane in reversed(self._planes):
            fewer = among & ~plane
            if fewer:
                among = fewer
        return among

    def fewer_than(self, count: int) -> int:
        """The complement of what at least ``count`` hold: a mask to be cut (``&``) with some set of pieces."""
        fewer, equal = 0, -1
        for at in reversed(range(max(len(self._planes), count.bit_length()))):
            plane = self._planes[at] if at < len(self._planes) else 0
            if count >> at & 1:
                fewer |= equal & ~plane
                equal &= plane
            else:
                equal &= ~plane
        return fewer
