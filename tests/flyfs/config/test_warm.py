from pathlib import Path

import pytest

from flyfs.config.warm import WarmConfig, read_warm_config
from flyfs.core.address import Address, SrvName
from flyfs.core.errors import ConfigError
from flyfs.core.urls import parse_url
from flyfs.core.verify import Verify

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def warm_config(*arguments: str, **variables: str) -> WarmConfig:
    return read_warm_config(arguments, {**NO_FILE, **variables})


def complaint(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        warm_config(*arguments)
    return caught.value.message


def test_without_options_it_warms_this_host_into_the_cache_of_get(as_root: None) -> None:
    assert warm_config("http://h/a", "https://h/b?q=1", "http://h/a") == WarmConfig(
        urls=(parse_url("http://h/a"), parse_url("https://h/b?q=1")),
        supernode_only=False,
        supernodes=(),
        resolver=None,
        cache_directory=Path("/var/cache/flyfs/get"),
        cache_limit_bytes=None,
        verify=Verify.FIRST_USE,
        no_origin=False,
        allow_origin=(),
        origin_ca=None,
        piece_size=None,
        rate_limit=None,
        log_level="error",
        alone=False,
        runtime_directories=(Path("/run/flyfs"),),
    )


def test_every_option_arrives(tmp_path: Path) -> None:
    config = warm_config(
        *(
            "http://h/a",
            "--supernode",
            "srv://swarm.example",
            "--resolver",
            "10.0.0.53:53",
            "--verify",
            "never",
            "--cache",
            str(tmp_path),
            "--cache-limit",
            "1MiB",
            "--no-origin",
        ),
        *("--allow-origin", "h", "--piece-size", "1KiB", "--log-level", "debug", "--runtime-dir", "/r"),
        *("--rate-limit", "1MB/s", "--supernode-only"),
    )

    assert config == WarmConfig(
        urls=(parse_url("http://h/a"),),
        supernode_only=True,
        supernodes=(SrvName("swarm.example"),),
        resolver=Address("10.0.0.53", 53),
        cache_directory=tmp_path,
        cache_limit_bytes=2**20,
        verify=Verify.NEVER,
        no_origin=True,
        allow_origin=("h",),
        origin_ca=None,
        piece_size=1024,
        rate_limit=1_000_000,
        log_level="debug",
        alone=True,
        runtime_directories=(Path("/r"),),
    )
    assert not warm_config("http://h/a", "--local").supernode_only


def test_only_the_command_line_makes_it_fetch_alone() -> None:
    assert not warm_config("http://h/a", FLYFS_SUPERNODE="s:1").alone
    assert warm_config("http://h/a", "--supernode", "s:1").alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: URL; see flyfs warm --help"),
        (["http://h/a", "--local", "--supernode-only"], "--local and --supernode-only say opposite things; give one of them"),
        (["http://h/a/"], "http://h/a/ names a directory; give the URLs of files"),
        (["ftp://h/a"], "not an http or https URL: 'ftp://h/a'"),
        (
            ["http://h/a", "oci://registry.example/image:tag"],
            (
                "oci://registry.example/image:tag: warming an image comes with images, which are not in this version; "
                "give http or https URLs"
            ),
        ),
    ],
)
def test_a_mistake_is_told_before_anything_starts(arguments: list[str], message: str) -> None:
    assert complaint(*arguments) == message
