"""What ``stat`` shows of a node. Pure."""

from typing import NamedTuple

from flyfs.core.ids import Ino
from flyfs.fs.consistency import CONSTANT_TIMEOUT_S, Freshness
from flyfs.fs.inodes import Node, NodeKind

ABSENT_INO = Ino(0)


class Attributes(NamedTuple):
    """Attributes of a number, and how long the kernel may keep them. A tuple, because listings make them by the thousand.

    Attributes:
        ino: the number, 0 for a name that is certainly not there (then only ``entry_timeout_s`` counts).
        directory: whether it is a directory.
        size: bytes; 0 while unknown.
        modified_s: seconds since 1970.
        entry_timeout_s: how long the name may stand for the number.
        attribute_timeout_s: how long these attributes may be kept.
    """

    ino: Ino
    directory: bool
    size: int
    modified_s: int
    entry_timeout_s: float
    attribute_timeout_s: float


def absent(timeout_s: float) -> Attributes:
    """The answer for a name that is certainly not there."""
    return Attributes(ABSENT_INO, False, 0, 0, timeout_s, 0.0)


def attributes_of(
    node: Node, freshness: Freshness, now: float, *, made_s: int, offline_timeout_s: float | None = None
) -> Attributes:
    """The attributes of a node.

    A number stands for one version, so its attributes are constant: only a size or a time that is not known exactly yet
    has to be asked for again. What may change is which number a name stands for.

    Args:
        node: the node.
        freshness: the consistency setting.
        now: seconds on the clock of ``node.facts.as_of``.
        made_s: wall-clock time the mount was made, shown for what the tree itself provides.
        offline_timeout_s: how long the name may be kept where it is told from memory because nobody can be asked.
    """
    facts = node.facts
    match node.kind:
        case NodeKind.FILE:
            if facts.size is None:
                return Attributes(node.ino, False, 0, facts.modified_s or 0, 0.0, 0.0)
            timeout_s = offline_timeout_s if offline_timeout_s is not None else freshness.timeout_s(facts.as_of, now)
            constant = facts.blob_id is not None or facts.modified_exact
            return Attributes(
                node.ino, False, facts.size, facts.modified_s or 0, timeout_s, CONSTANT_TIMEOUT_S if constant else timeout_s
            )
        case NodeKind.DIRECTORY if node.parent is not None and node.parent.kind is not NodeKind.SCHEME:
            timeout_s = offline_timeout_s if offline_timeout_s is not None else freshness.timeout_s(facts.as_of, now)
            return Attributes(node.ino, True, 0, facts.modified_s or 0, timeout_s, timeout_s)
        case NodeKind.CONTROL_FILE:
            return Attributes(node.ino, False, facts.size or 0, facts.modified_s or 0, 0.0, CONSTANT_TIMEOUT_S)
        case _:
            return Attributes(node.ino, True, 0, made_s, CONSTANT_TIMEOUT_S, CONSTANT_TIMEOUT_S)
