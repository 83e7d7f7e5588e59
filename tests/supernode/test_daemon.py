"""Which key a supernode signs with."""

from dataclasses import replace
from pathlib import Path

import pytest

from flyfs.core.errors import ConfigError
from supernode.config import SupernodeConfig, read_supernode_config
from supernode.daemon import _seed

NO_FILE = {"FLYFS_CONFIG": "/dev/null"}


def a_config(directory: Path, key: bytes | None) -> SupernodeConfig:
    config = read_supernode_config(["--cache", str(directory)], NO_FILE)
    if key is None:
        return config
    (directory / "fleet.key").write_bytes(key)
    return replace(config, key_file=directory / "fleet.key")


def test_a_fleets_key_is_taken_and_none_is_made(tmp_path: Path) -> None:
    assert _seed(a_config(tmp_path, bytes(range(32)))) == bytes(range(32))
    assert not (tmp_path / "signing-key").exists()


def test_without_one_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    made = _seed(a_config(tmp_path, None))

    assert len(made) == 32
    assert _seed(a_config(tmp_path, None)) == made
    assert (tmp_path / "signing-key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_what_is_no_key_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ConfigError, match=f"fleet.key: a key has 32 random bytes, not {length}"):
        _seed(a_config(tmp_path, bytes(length)))
    (tmp_path / "signing-key").write_bytes(bytes(length))
    with pytest.raises(ConfigError, match="signing-key is not a signing key; remove it"):
        _seed(a_config(tmp_path, None))


def test_a_key_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    config = a_config(tmp_path, bytes(32))
    (tmp_path / "fleet.key").unlink()
    with pytest.raises(ConfigError, match="fleet.key: cannot be read: No such file"):
        _seed(config)
