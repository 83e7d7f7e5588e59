import os
from pathlib import Path

import pytest

from flyfs.core.address import Address
from flyfs.core.errors import ConfigError
from flyfs.core.verify import Verify
from supernode.config import SupernodeConfig, read_supernode_config

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def complaint(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_supernode_config(arguments, NO_FILE)
    return caught.value.message


def test_a_supernode_without_options_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert read_supernode_config([], NO_FILE) == SupernodeConfig(
        listen=Address("127.0.0.1", 7400),
        http=Address("127.0.0.1", 7401),
        cache_directory=Path("/var/cache/flyfs/supernode"),
        cache_limit_bytes=None,
        verify=Verify.FIRST_USE,
        allow_origin=(),
        origin_ca=None,
        insecure=False,
        piece_size=None,
        key_file=None,
        rate_limit=None,
        limit_directories=(Path("/run/flyfs"),),
        log_level="info",
        embedded=False,
        parent_pipe=None,
    )


def test_every_option_arrives(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "key").touch(mode=0o600)
    config = read_supernode_config(
        [
            *("--listen", "0.0.0.0:0", "--http", "10.0.0.1:80", "--insecure", "--cache", str(tmp_path), "--cache-limit", "1GB"),
            *(
                "--allow-origin",
                "10.0.0.0/8",
                "--allow-origin",
                "h",
                "--origin-ca",
                str(tmp_path / "ca.pem"),
                "--piece-size",
                "4KiB",
            ),
            *("--log-level", "debug", "--verify", "always", "--key-file", str(tmp_path / "key")),
            *("--rate-limit", "off", "--runtime-dir", "/r"),
        ],
        NO_FILE,
    )

    assert config == SupernodeConfig(
        listen=Address("0.0.0.0", 0),
        http=Address("10.0.0.1", 80),
        cache_directory=tmp_path,
        cache_limit_bytes=10**9,
        verify=Verify.ALWAYS,
        allow_origin=("10.0.0.0/8", "h"),
        origin_ca=tmp_path / "ca.pem",
        insecure=True,
        piece_size=4096,
        key_file=tmp_path / "key",
        rate_limit=0,
        limit_directories=(Path("/r"),),
        log_level="debug",
        embedded=False,
        parent_pipe=None,
    )
    assert config.log_file is None


def test_a_file_and_the_environment_configure_it(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('listen = "127.0.0.1:1"\nhttp = "127.0.0.1:2"')
    config = read_supernode_config(["--config", str(tmp_path / "s.toml")], {"FLYFS_HTTP": "127.0.0.1:3"})

    assert (config.listen.port, config.http) == (1, Address("127.0.0.1", 3))


def test_an_embedded_one_hears_its_daemon_only(tmp_path: Path) -> None:
    arguments = ["--embedded", "--parent-pipe", "5", "--listen", "127.0.0.1:0", "--cache", str(tmp_path)]
    config = read_supernode_config(arguments, {"FLYFS_HTTP": "0.0.0.0:1", "FLYFS_CONFIG": "/no/such", "FLYFS_NONSENSE": "x"})

    assert (config.embedded, config.parent_pipe, config.http) == (True, 5, None)
    assert config.log_file == tmp_path / "supernode.log"
    assert read_supernode_config([*arguments, "--http", "127.0.0.1:0"], {}).http == Address("127.0.0.1", 0)


def test_places_of_a_user_follow_the_xdg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert read_supernode_config([], NO_FILE).cache_directory == Path("/home/ann/.cache/flyfs/supernode")
    assert read_supernode_config([], {**NO_FILE, "XDG_CACHE_HOME": "/c"}).cache_directory == Path("/c/flyfs/supernode")
    host = Path("/run/flyfs")
    assert read_supernode_config([], NO_FILE).limit_directories == (Path("/home/ann/.cache/flyfs/run"), host)
    assert read_supernode_config([], {**NO_FILE, "XDG_RUNTIME_DIR": "/r"}).limit_directories == (Path("/r/flyfs"), host)


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o644)

    assert complaint("--key-file", str(key)) == f"--key-file: everybody can read {key}; chmod 600 it"


@pytest.mark.parametrize("name", ["export", "token-file", "tls-cert", "tls-key", "tls-ca"])
def test_options_of_later_versions_are_refused_by_name(name: str) -> None:
    assert complaint(f"--{name}", "x") == f"--{name}: not in this version; leave it out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "0.0.0.0:7400"], "--listen: 0.0.0.0:7400 can be reached from other hosts"),
        (["--http", "0.0.0.0:7401"], "--http: 0.0.0.0:7401 can be reached from other hosts"),
        (["--origin-ca", "/no/such"], "--origin-ca: /no/such is not a file that can be read"),
        (["--key-file", "/no/such"], "--key-file: /no/such is not a file that can be read"),
        (["--embedded"], "--embedded and --parent-pipe belong together"),
        (["--parent-pipe", "3"], "--embedded and --parent-pipe belong together"),
        (["word"], "unexpected argument 'word'; see flyfs-supernode --help"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(arguments: list[str], message: str) -> None:
    assert complaint(*arguments).startswith(message)
