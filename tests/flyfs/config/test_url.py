import pytest

from flyfs.config.url import read_path_config
from flyfs.core.errors import ConfigError

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def test_path_takes_a_url_only() -> None:
    assert str(read_path_config(["HTTP://H:80/a"], NO_FILE)) == "http://h/a"
    with pytest.raises(ConfigError, match="required: URL"):
        read_path_config([], NO_FILE)
