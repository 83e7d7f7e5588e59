from pathlib import Path

import pytest

from flyfs.config.cache import ACTIONS, CacheConfig, cache_usage, read_cache_config
from flyfs.core.errors import ConfigError

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def cache_config(*arguments: str, **variables: str) -> CacheConfig:
    return read_cache_config(arguments, {**NO_FILE, **variables})


def test_every_option_of_a_collection_arrives(as_root: None) -> None:
    assert cache_config(
        "gc", "--to", "1GiB", "--cache-limit", "2GB", "--cache", "/c", "--json", "--runtime-dir", "/r"
    ) == CacheConfig(
        action="gc",
        names=(),
        directory=Path("/c"),
        home=Path("/var/cache/flyfs"),
        to_bytes=1 << 30,
        limit_bytes=2 * 10**9,
        json=True,
        runtime_directories=(Path("/r"),),
    )


def test_without_options_it_is_about_all_caches(as_user: None) -> None:
    config = cache_config("ls", FLYFS_CACHE_LIMIT="1GB", FLYFS_TO="5")

    assert (config.directory, config.home, config.json) == (None, Path("/home/ann/.cache/flyfs"), False)
    assert (config.to_bytes, config.limit_bytes) == (None, None)


def test_what_to_remove_is_named() -> None:
    assert cache_config("rm", "http://h/a", "0123", "--json").names == ("http://h/a", "0123")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "what is to be done is missing; see flyfs cache --help"),
        (["lst"], "there is no 'lst'; did you mean ls?"),
        (["zzz"], "there is no 'zzz'; see flyfs cache --help"),
        (["rm"], r"the following arguments are required: URL\|BLOB-ID; see flyfs cache rm --help"),
        (["ls", "x"], "unexpected argument 'x'; see flyfs cache ls --help"),
        (["ls", "--to", "1"], "there is no option --to"),
        (["gc", "--to", "little"], "--to: 'little' is not a size"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        cache_config(*arguments)


def test_usage_names_every_action() -> None:
    assert [name for name in ACTIONS if f"\n  {name} " not in cache_usage()] == []
