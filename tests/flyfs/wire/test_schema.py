from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.blob import Blob
from flyfs.core.ids import BlobId, PeerId
from flyfs.core.manifest import SignedDigests
from flyfs.core.remote import Entry
from flyfs.wire.messages import MESSAGES, Neighbour
from flyfs.wire.schema import MAX_TEXT, SchemaError, from_plain, to_plain
from tests.flyfs.wire.samples import BLOB

Count = NewType("Count", int)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: Count = Count(7)


@dataclass(frozen=True, kw_only=True)
class Everything:
    flag: bool
    number: float
    text: str
    data: bytes
    colour: Colour
    points: tuple[Point, ...]
    pair: tuple[int, str]
    maybe: Point | None
    nested: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Even:
    value: int

    def __post_init__(self) -> None:
        if self.value == 10**10:
            raise OverflowError("too much")
        if self.value % 2:
            raise ValueError(f"{self.value} is odd")


unsigned = st.integers(0, (1 << 64) - 1)
points = st.builds(Point, unsigned, unsigned.map(Count))
everything = st.builds(
    Everything,
    flag=st.booleans(),
    number=st.floats(0, 1e17),
    text=st.text(max_size=5),
    data=st.binary(max_size=5),
    colour=st.sampled_from(Colour),
    points=st.lists(points, max_size=3).map(tuple),
    pair=st.tuples(unsigned, st.text(max_size=3)),
    maybe=st.none() | points,
    nested=st.lists(st.lists(unsigned, max_size=2).map(tuple), max_size=2).map(tuple),
)


@given(everything)
def test_any_value_comes_back(value: Everything) -> None:
    assert from_plain(Everything, to_plain(value)) == value


def test_a_value_is_the_array_of_its_fields() -> None:
    value = Everything(
        flag=True,
        number=1.5,
        text="t",
        data=b"d",
        colour=Colour.BLUE,
        points=(Point(1),),
        pair=(2, "p"),
        maybe=None,
        nested=((3,),),
    )
    assert to_plain(value) == [True, 1.5, "t", b"d", "blue", [[1, 7]], [2, "p"], None, [[3]]]


def test_fields_that_are_not_given_at_birth_do_not_travel() -> None:
    assert len(to_plain(BLOB)) == len(fields(Blob)) - 2, "the id and the grid follow from the others"


@pytest.mark.parametrize(("kind", "plain", "message"), [
    (int, True, "int: not an unsigned integer"),
    (int, -1, "int"),
    (int, 1 << 64, "int"),
    (int, 1.0, "int"),
    (float, "1", "float: not a number"),
    (float, -0.1, "float"),
    (float, float("nan"), "float"),
    (float, 1e18, "float"),
    (float, 10**18, "float"),
    (float, True, "float"),
    (str, b"x", "str: not a text"),
    (str, "x" * (MAX_TEXT + 1), "str"),
    (bool, 1, "bool: not a boolean"),
    (bytes, "x", "bytes: not bytes"),
    (bytes, None, "bytes: not bytes"),
    (Colour, "green", "Colour: not one of red, blue"),
    (Colour, 1, "Colour: not one of"),
    (Point, {}, "Point: not an array of at least 1"),
    (Point, [], "Point: not an array of at least 1"),
    (Point, ["x"], "Point.x: not an unsigned integer"),
    (Point, [1, None], "Point.y: not an unsigned integer"),
    (Even, [3], "Even: 3 is odd"),
    (Even, [10**10], "Even: too much"),
    (BlobId, "x", "BlobId: not a blob id"),
    (PeerId, "x", "PeerId: not a peer id"),
    (PeerId, 1, "PeerId: not a peer id|not a text"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(kind: type, plain: object, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_plain(kind, plain)


def test_integers_may_stand_for_numbers() -> None:
    number = from_plain(float, 3)
    assert (number, type(number)) == (3.0, float)


def test_trailing_fields() -> None:
    assert from_plain(Point, [1]) == Point(1, Count(7))
    assert from_plain(Point, [1, 2, "a newer field"]) == Point(1, Count(2))


@pytest.mark.parametrize("value", [object(), {}, [1], Point, {1}])
def test_what_has_no_form_on_the_wire_is_not_sent(value: object) -> None:
    with pytest.raises(SchemaError, match="has no form on the wire"):
        to_plain(value)


@pytest.mark.parametrize("kind", [*MESSAGES.values(), Neighbour, Blob, SignedDigests, Entry], ids=lambda kind: kind.__name__)
def test_fields_with_defaults_come_last_so_that_a_shorter_array_is_never_ambiguous(kind: type) -> None:
    optional = [field.default is not MISSING for field in fields(kind) if field.init]  # type: ignore[arg-type]
    assert optional == sorted(optional)
