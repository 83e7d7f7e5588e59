from pathlib import Path

import pytest

from flyfs.config.get import GetConfig, read_get_config
from flyfs.config.mount import read_mount_config
from flyfs.core.address import Address, SrvName
from flyfs.core.errors import ConfigError
from flyfs.core.verify import Verify

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def get_config(*arguments: str, **variables: str) -> GetConfig:
    return read_get_config(arguments, {**NO_FILE, **variables})


@pytest.mark.parametrize("name", ["header", "filter-query"])
def test_get_refuses_options_of_later_versions_too(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{name}: not in this version; leave it out$"):
        get_config("http://h/a", f"--{name}", "x")


def test_get_names_its_file_after_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_root: None) -> None:
    monkeypatch.chdir(tmp_path)
    config = get_config("http://h/a/b%20c?q=1")

    assert config.output == tmp_path / "b c"
    assert str(config.url) == "http://h/a/b%20c?q=1"
    assert (config.cache_directory, config.cache_is_shared) == (Path("/var/cache/flyfs/get"), True)
    assert (config.timeout_s, config.sha256, config.alone, config.log_level) == (None, None, False, "error")


def test_every_option_of_get_arrives(tmp_path: Path) -> None:
    config = get_config(
        *("http://h/a/", "-o", "x", "--sha256", "AB" * 32, "--timeout", "9", "--supernode", "s:1", "--cache", str(tmp_path)),
        *("--supernode", "srv://Swarm.", "--resolver", "127.0.0.1:53"),
        *("--cache-limit", "1MiB", "--no-origin", "--allow-origin", "h", "--piece-size", "1KiB", "--log-level", "debug"),
        *("--runtime-dir", "/r", "--verify", "never", "--rate-limit", "1MB/s"),
    )

    assert config == GetConfig(
        url=config.url,
        output=Path.cwd() / "x",
        sha256="ab" * 32,
        timeout_s=9,
        supernodes=(Address("s", 1), SrvName("swarm")),
        resolver=Address("127.0.0.1", 53),
        cache_directory=tmp_path,
        cache_is_shared=False,
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


def test_only_the_command_line_makes_get_fetch_alone() -> None:
    assert not get_config("http://h/a", FLYFS_SUPERNODE="s:1").alone
    assert get_config("http://h/a", "--no-origin").alone


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h/a/", "http://h/a/ names a directory; give a URL of a file, or say where to write it with -o FILE"),
        ("ftp://h/a", "not an http or https URL: 'ftp://h/a'"),
        ("http://u:p@h/a", "a URL must not carry a user name or password"),
    ],
)
def test_a_url_that_cannot_be_fetched_is_a_mistake(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        get_config(url)
    assert caught.value.message == message


def test_nothing_below_a_mount_of_flyfs_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = Path.readlink

    def readlink(path: Path) -> Path:
        asked.append(str(path))
        return real(path)

    monkeypatch.setattr(Path, "readlink", readlink)
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt" / "link").symlink_to("/elsewhere")
    place = str(tmp_path / "mnt")

    with pytest.raises(ConfigError, match=f"^--cache: {place}/link lies under the mountpoint"):
        read_mount_config([place, "--cache", f"{place}/link"], NO_FILE)
    assert get_config("http://h/a", "-o", f"{place}/x").output == Path(f"{place}/x")
    assert place + "/x" in asked
    asked.clear()
    config = read_get_config(["http://h/a", "-o", f"{place}/x/../y", "--cache", f"{place}/../c"], NO_FILE, [place])
    assert (config.output, config.cache_directory) == (Path(f"{place}/y"), tmp_path / "c")
    assert not [path for path in asked if path.startswith(place + "/")]
