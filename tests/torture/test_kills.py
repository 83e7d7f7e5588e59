"""A daemon that is killed in the middle of reads. ``just torture`` does it 50 times."""

from pathlib import Path

import pytest

from flyfs.core.grid import MIB
from tests.support.apart import apart
from tests.torture.kills import kill_often

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(100)]


def test_a_daemon_that_is_killed_again_and_again_serves_right_bytes_and_fetches_nothing_durable_twice(tmp_path: Path) -> None:
    tally = apart(kill_often, tmp_path, 4, seed=1, longest_s=1.5, file_bytes=24 * MIB)

    assert tally.bad == []
    assert (tally.kills, tally.wrong, tally.again) == (4, 0, 0)
    assert tally.compared > 50
