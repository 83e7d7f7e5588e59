import pytest

from flyfs.core.errors import ConfigError
from flyfs.fuse.mount_options import lets_users_allow_others, mount_options


def test_root_lets_everybody_look() -> None:
    options = mount_options(root=True, allow_other=False, user_allow_other=False)

    assert options == {"fsname=flyfs:", "subtype=flyfs", "ro", "nosuid", "nodev", "default_permissions", "allow_other"}


def test_a_user_lets_others_in_only_where_the_system_allows_it() -> None:
    assert "allow_other" not in mount_options(root=False, allow_other=False, user_allow_other=True)
    assert "allow_other" in mount_options(root=False, allow_other=True, user_allow_other=True)
    with pytest.raises(ConfigError, match="user_allow_other"):
        mount_options(root=False, allow_other=True, user_allow_other=False)


def test_a_commented_line_allows_nothing() -> None:
    assert lets_users_allow_others("# x\n user_allow_other \n")
    assert not lets_users_allow_others("#user_allow_other\nmount_max = 5\n")
