from pathlib import Path

from flyfs.config.host import HostConfig, read_status_config, read_umount_config

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
