import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def runtime_directory() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="flyfs-") as directory:
        yield Path(directory)
