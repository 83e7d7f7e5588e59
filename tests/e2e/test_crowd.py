"""Several mounts that read one file at the same time get different pieces from the supernode, and the rest from each other."""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(110)]

READERS = 5
SIZE = 48 * 1024 * 1024
NAME = "file"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[NginxOrigin]:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / NAME).write_bytes(random.Random("crowd").randbytes(SIZE))
    with NginxOrigin.serving(tmp_path / "root") as running:
        yield running


def test_a_crowd_reads_the_origin_once_and_serves_itself(origin: NginxOrigin, tmp_path: Path) -> None:
    digest = hashlib.sha256((tmp_path / "root" / NAME).read_bytes()).hexdigest()
    with Fleet.below(tmp_path) as fleet, ExitStack() as readers:
        supernode = fleet.supernode()
        mounts = [fleet.mount(f"m{at}", supernode=supernode) for at in range(READERS)]
        own = [readers.enter_context(Reader.started()) for _ in mounts]
        with ThreadPoolExecutor(READERS) as pool:
            found = list(
                pool.map(lambda reader, mount: reader.digest(mount.path(origin.authority, NAME), timeout_s=60), own, mounts)
            )

        assert found == [digest] * READERS
        assert origin.log().of(f"/{NAME}").sent_bytes == SIZE
        sources = [mount.status()["bytes"] for mount in mounts]
        assert sum(one["supernode"] for one in sources) <= 2.5 * SIZE, sources
        assert all(one["peers"] > 0 for one in sources), sources
        assert sum(one["served"] > 0 for one in sources) >= 2, "not one of them serves all the others"
