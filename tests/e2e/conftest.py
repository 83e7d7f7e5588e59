"""What the end-to-end tests share: a fleet per test, a reading process, and an origin over a directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.below(tmp_path) as running:
        yield running


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader.started() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The origin's directory."""
    place = tmp_path / "root"
    place.mkdir()
    return place


@pytest.fixture
def origin(root: Path) -> Iterator[NginxOrigin]:
    with NginxOrigin.serving(root) as running:
        yield running
