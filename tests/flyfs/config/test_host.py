from pathlib import Path

import pytest

from flyfs.config.host import HostConfig, LimitConfig, read_limit_config, read_status_config, read_umount_config
from flyfs.core.errors import ConfigError

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def test_a_user_looks_for_daemons_of_root_too(as_user: None) -> None:
    config = read_status_config([], {**NO_FILE, "XDG_RUNTIME_DIR": "/run/user/1000"})

    assert config == HostConfig(
        mountpoint=None, json=False, runtime_directories=(Path("/run/user/1000/flyfs"), Path("/run/flyfs"))
    )


def test_root_looks_in_one_place(as_root: None) -> None:
    assert read_status_config(["--json"], NO_FILE).runtime_directories == (Path("/run/flyfs"),)
    assert read_status_config(["/mnt/../mnt/fly", "--json"], NO_FILE).mountpoint == "/mnt/fly"


def test_a_chosen_runtime_directory_is_the_only_one() -> None:
    config = read_umount_config(["/mnt/fly", "--runtime-dir", "/r"], NO_FILE)

    assert config == HostConfig(mountpoint="/mnt/fly", json=False, runtime_directories=(Path("/r"),))


def test_a_limit_is_set_by_flag_and_else_left_as_it_is(as_root: None) -> None:
    assert read_limit_config([], NO_FILE) == LimitConfig(receive=None, send=None, directories=(Path("/run/flyfs"),))
    assert read_limit_config(["--receive", "20MB/s", "--send", "off", "--runtime-dir", "/r"], NO_FILE) == LimitConfig(
        receive=20_000_000, send=0, directories=(Path("/r"),)
    )


def test_a_user_shares_the_limit_of_the_host_where_that_is_let_in(as_user: None) -> None:
    config = read_limit_config([], {**NO_FILE, "XDG_RUNTIME_DIR": "/run/user/1000"})

    assert config.directories == (Path("/run/user/1000/flyfs"), Path("/run/flyfs"))


def test_the_environment_sets_no_limit_by_accident() -> None:
    with pytest.raises(ConfigError, match="there is no setting FLYFS_RECEIVE"):
        read_limit_config([], {**NO_FILE, "FLYFS_RECEIVE": "20MB/s"})
