"""Values to plain msgpack data and back, strictly, by their type annotations. Pure.

A dataclass travels as the array of its fields in order. A receiver takes a longer array than it knows (a newer minor version
appended fields) and fills missing trailing fields from their defaults.
"""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from flyfs.core.ids import BlobId, PeerId, blob_id, peer_id

MAX_TEXT = 16 * 1024
MAX_INTEGER = 1 << 64

T = TypeVar("T")

Plain = Any
"""What msgpack knows: None, bool, int, float, str, bytes, list."""


class SchemaError(ValueError):
    """The data does not fit the type; the message names the field."""


def to_plain(value: object) -> Plain:
    """``value`` as data that msgpack packs."""
    match value:
        case StrEnum():
            return value.value
        case None | bool() | int() | float() | str() | bytes():
            return value
        case tuple():
            return [to_plain(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return [to_plain(getattr(value, field.name)) for field in fields(value) if field.init]
        case _:
            raise SchemaError(f"{type(value).__name__} has no form on the wire")


def from_plain(kind: type[T], plain: Plain) -> T:
    """The ``kind`` that ``plain`` describes.

    Raises:
        SchemaError: it does not fit: a wrong type, a number out of bounds, too few fields, or a value the type refuses.
    """
    read: _Reader = _reader(kind)  # type: ignore[arg-type]  # every class is hashable
    value: T = read(plain, kind.__name__)
    return value


_Reader = Callable[[Plain, str], Any]


@cache
def _reader(kind: Any) -> _Reader:
    """The function that checks and builds one type."""
    if kind in _CHECKED:
        return _checked_reader(_CHECKED[kind])
    if isinstance(kind, NewType):
        return _reader(kind.__supertype__)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (one for one in get_args(kind) if one is not type(None))
        read = _reader(inner)
        return lambda plain, where: None if plain is None else read(plain, where)
    if origin is tuple:
        return _tuple_reader(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _enum_reader(kind)
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    return _SCALARS[kind]


def _integer(plain: Plain, where: str) -> int:
    if type(plain) is not int or not 0 <= plain < MAX_INTEGER:
        raise SchemaError(f"{where}: not an unsigned integer")
    return plain


def _number(plain: Plain, where: str) -> float:
    if type(plain) not in (int, float) or not 0 <= plain < 1e18:  # also refuses NaN
        raise SchemaError(f"{where}: not a number from 0 on")
    return float(plain)


def _text(plain: Plain, where: str) -> str:
    if type(plain) is not str or len(plain) > MAX_TEXT:
        raise SchemaError(f"{where}: not a text of at most {MAX_TEXT} characters")
    return plain


def _boolean(plain: Plain, where: str) -> bool:
    if type(plain) is not bool:
        raise SchemaError(f"{where}: not a boolean")
    return plain


def _binary(plain: Plain, where: str) -> bytes:
    if type(plain) is not bytes:
        raise SchemaError(f"{where}: not bytes")
    return plain


_SCALARS: dict[Any, _Reader] = {int: _integer, float: _number, str: _text, bool: _boolean, bytes: _binary}


_CHECKED: dict[Any, Callable[[str], str]] = {BlobId: blob_id, PeerId: peer_id}
"""Texts that name files and appear in logs: their form is checked before anybody sees them."""


def _checked_reader(check: Callable[[str], str]) -> _Reader:
    def read(plain: Plain, where: str) -> str:
        try:
            return check(_text(plain, where))
        except ValueError as error:
            raise SchemaError(f"{where}: {error}") from None

    return read


def _tuple_reader(inner: tuple[Any, ...]) -> _Reader:
    if inner[-1] is Ellipsis:
        read = _reader(inner[0])

        def read_many(plain: Plain, where: str) -> tuple[Any, ...]:
            if type(plain) is not list:
                raise SchemaError(f"{where}: not an array")
            return tuple(read(item, f"{where}[{at}]") for at, item in enumerate(plain))

        return read_many
    readers = [_reader(one) for one in inner]

    def read_fixed(plain: Plain, where: str) -> tuple[Any, ...]:
        if type(plain) is not list or len(plain) != len(readers):
            raise SchemaError(f"{where}: not an array of {len(readers)}")
        return tuple(read(item, f"{where}[{at}]") for at, (read, item) in enumerate(zip(readers, plain, strict=True)))

    return read_fixed


def _enum_reader(kind: type[StrEnum]) -> _Reader:
    def read(plain: Plain, where: str) -> StrEnum:
        try:
            return kind(_text(plain, where))
        except ValueError:
            raise SchemaError(f"{where}: not one of {', '.join(kind)}") from None

    return read


def _dataclass_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = [(one.name, _reader(hints[one.name]), one) for one in fields(kind) if one.init]
    needed = sum(one.default is MISSING and one.default_factory is MISSING for _, _, one in readers)

    def read(plain: Plain, where: str) -> Any:
        if type(plain) is not list or len(plain) < needed:
            raise SchemaError(f"{where}: not an array of at least {needed}")
        try:
            return kind(**{name: read(item, f"{where}.{name}") for (name, read, _), item in zip(readers, plain, strict=False)})
        except SchemaError:
            raise
        except (ValueError, OverflowError) as error:
            raise SchemaError(f"{where}: {error}") from None

    return read
