"""The contract of the mounted tree: each claim names tests, and they exist."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[3]


def claims() -> list[str]:
    text = (PROJECT / "docs" / "reference" / "semantics.md").read_text()
    return re.findall(r"^- .*?(?=\n- |\n\n)", text, re.MULTILINE | re.DOTALL)


def test_each_claim_is_held_by_a_test_that_exists() -> None:
    rooms = [PROJECT / "tests" / room for room in ("flyfs/fs", "flyfs/fuse", "flyfs/swarm", "e2e")]
    existing = {
        name for room in rooms for file in room.glob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }

    assert len(claims()) > 25
    for claim in claims():
        named = set(re.findall(r"`(test_\w+)`", claim))
        assert named, claim
        assert named <= existing, (claim, named - existing)
