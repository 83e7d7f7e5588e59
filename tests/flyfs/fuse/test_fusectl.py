"""The limits of a real connection, on a host with or without fusectl."""

import subprocess
from pathlib import Path

import pytest

from flyfs.fuse.fusectl import set_limits
from tests.flyfs.fuse.conftest import ServedMount

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(60)]

#: In a mount namespace of its own, as nothing of the host may change.
LIMITS = """
mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null
cat /sys/fs/fuse/connections/$0/max_background /sys/fs/fuse/connections/$0/congestion_threshold
"""


def limits_of(minor: int) -> list[int]:
    told = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", LIMITS, str(minor)],
        capture_output=True,
        timeout=20,
        check=True,
    )
    return [int(word) for word in told.stdout.split()]


def test_a_mount_lets_128_reads_be_in_flight_and_leaves_the_hosts_mounts_alone(served: ServedMount) -> None:
    before = Path("/proc/self/mounts").read_text().count("fusectl")

    served.start()

    assert limits_of(served.minor) == [128, 96]
    assert Path("/proc/self/mounts").read_text().count("fusectl") == before


def test_a_connection_that_is_not_there_is_told_apart() -> None:
    assert not set_limits(999_999, max_background=128, congestion_threshold=96)
