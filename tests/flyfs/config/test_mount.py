from pathlib import Path

import pytest

from flyfs.config.mount import MountConfig, read_mount_config
from flyfs.config.places import mount_name
from flyfs.core.address import Address
from flyfs.core.errors import ConfigError
from flyfs.core.option_kinds import Consistency
from flyfs.core.verify import Verify

NO_FILE = {"FLYFS_CONFIG": "/dev/null", "HOME": "/home/ann"}


def mount_config(*arguments: str, **variables: str) -> MountConfig:
    return read_mount_config(arguments, {**NO_FILE, **variables})


def complaint(*arguments: str, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        mount_config(*arguments, **variables)
    return caught.value.message


def test_a_mount_without_options_has_the_defaults(as_root: None) -> None:
    config = mount_config("/mnt/fly")

    assert config == MountConfig(
        mountpoint="/mnt/fly",
        name=mount_name("/mnt/fly"),
        supernodes=(),
        resolver=None,
        cache_directory=Path("/var/cache/flyfs") / mount_name("/mnt/fly"),
        cache_limit_bytes=None,
        verify=Verify.FIRST_USE,
        runtime_directory=Path("/run/flyfs"),
        listen=Address("127.0.0.1", 0),
        listen_may_move=True,
        advertise=None,
        consistency=Consistency(10),
        no_origin=False,
        allow_origin=(),
        origin_ca=None,
        piece_size=None,
        rate_limit=None,
        limit_directories=(Path("/run/flyfs"),),
        location="",
        insecure=False,
        deadline_s=30,
        umask=0,
        allow_other=False,
        foreground=False,
        log_level="info",
        ready_pipe=None,
    )
    assert config.control_socket == Path("/run/flyfs") / f"{config.name}.sock"
    assert config.lock_file == config.control_socket.with_suffix(".lock")
    assert config.log_file == config.cache_directory / "flyfs.log"


def test_every_option_of_a_mount_arrives(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("")
    config = mount_config(
        *("/mnt/fly", "--supernode", "a:7400", "--supernode", "b:7400", "--cache", str(tmp_path / "c"), "--cache-limit", "20GB"),
        *("--listen", "0.0.0.0:1", "--advertise", "h:2", "--insecure", "--consistency", "strict", "--no-origin"),
        *("--allow-origin", "10.0.0.0/8", "--origin-ca", str(authorities), "--piece-size", "64KiB", "--location", "eu|a|r1"),
        *("--deadline", "2.5", "--umask", "022", "--allow-other", "--foreground", "--log-level", "debug"),
        *("--runtime-dir", str(tmp_path / "r"), "--ready-pipe", "7", "--verify", "always", "--resolver", "10.0.0.53:53"),
        *("--rate-limit", "100Mbit/s"),
    )

    assert config == MountConfig(
        mountpoint="/mnt/fly",
        name=mount_name("/mnt/fly"),
        supernodes=(Address("a", 7400), Address("b", 7400)),
        resolver=Address("10.0.0.53", 53),
        cache_directory=tmp_path / "c",
        cache_limit_bytes=20 * 10**9,
        verify=Verify.ALWAYS,
        runtime_directory=tmp_path / "r",
        listen=Address("0.0.0.0", 1),
        listen_may_move=False,
        advertise=Address("h", 2),
        consistency=Consistency(0),
        no_origin=True,
        allow_origin=("10.0.0.0/8",),
        origin_ca=authorities,
        piece_size=65536,
        rate_limit=12_500_000,
        limit_directories=(tmp_path / "r",),
        location="eu|a|r1",
        insecure=True,
        deadline_s=2.5,
        umask=0o022,
        allow_other=True,
        foreground=True,
        log_level="debug",
        ready_pipe=7,
    )


def test_a_file_and_the_environment_configure_a_mount(tmp_path: Path) -> None:
    file = tmp_path / "flyfs.toml"
    file.write_text('supernode = ["127.0.0.1:7400"]\ndeadline = 5\ncache_limit = 1024\ntimeout = 3\numask = "027"')
    config = read_mount_config(["/mnt/fly", "--config", str(file)], {"FLYFS_DEADLINE": "7"})

    assert config.supernodes == (Address("127.0.0.1", 7400),)
    assert (config.deadline_s, config.cache_limit_bytes, config.umask) == (7, 1024, 0o027)


@pytest.mark.parametrize(
    ("arguments", "listen", "may_move"),
    [
        ([], "127.0.0.1:0", True),
        (["--supernode", "127.0.0.1:7400"], "127.0.0.1:7402", True),
        (["--supernode", "localhost:7400", "--supernode", "[::1]:7400"], "127.0.0.1:7402", True),
        (["--supernode", "10.0.0.1:7400", "--insecure"], "0.0.0.0:7402", True),
        (["--supernode", "srv://swarm.example.org", "--insecure"], "0.0.0.0:7402", True),
        (["--supernode", "10.0.0.1:7400", "--listen", "127.0.0.1:7402"], "127.0.0.1:7402", False),
    ],
)
def test_a_mount_listens_where_its_swarm_can_reach_it(arguments: list[str], listen: str, may_move: bool) -> None:
    config = mount_config("/mnt/fly", *arguments)

    assert (str(config.listen), config.listen_may_move) == (listen, may_move)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--listen", "0.0.0.0:7402"],
            "--listen: 0.0.0.0:7402 can be reached from other hosts, which needs a token, TLS or --insecure;",
        ),
        (["--supernode", "10.0.0.1:7400"], "the default of --listen: 0.0.0.0:7402 can be reached from other hosts, which needs"),
        (["--origin-ca", "/no/such"], "--origin-ca: /no/such is not a file that can be read"),
        (["--supernode", "srv://a b"], "--supernode: 'srv://a b' is not HOST:PORT or srv://NAME"),
        (["--umask", "9"], "--umask: '9' is not an octal mask between 000 and 777"),
        (["--cache", "/mnt/fly/cache"], "--cache: /mnt/fly/cache lies under the mountpoint /mnt/fly; choose a place outside"),
        (["--cache", "/mnt/fly"], "--cache: /mnt/fly lies under the mountpoint /mnt/fly; choose a place outside"),
        (
            ["--runtime-dir", "/mnt/fly/run"],
            "--runtime-dir: /mnt/fly/run lies under the mountpoint /mnt/fly; choose a place outside",
        ),
        (["extra"], "unexpected argument 'extra'; see flyfs mount --help"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(arguments: list[str], message: str) -> None:
    assert complaint("/mnt/fly", *arguments).startswith(message)


@pytest.mark.parametrize(
    "name", ["header", "token-file", "tls-cert", "tls-key", "tls-ca", "metrics", "mirror-listen", "mirror-registry"]
)
def test_options_of_later_versions_are_refused_by_name(name: str) -> None:
    assert complaint("/mnt/fly", f"--{name}", "x") == f"--{name}: not in this version; leave it out"


@pytest.mark.parametrize("mountpoint", ["/", "", "/mnt/.."])
def test_the_root_is_no_mountpoint(mountpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")

    assert "cannot be a mountpoint; choose a directory below /" in complaint(mountpoint)


def test_a_cache_that_reaches_under_the_mountpoint_by_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("mnt/cache")
    (tmp_path / "seen").symlink_to(tmp_path / "mnt")

    assert "lies under the mountpoint" in complaint(str(tmp_path / "mnt"), "--cache", str(tmp_path / "link"))
    assert "lies under the mountpoint" in complaint(str(tmp_path / "seen"), "--cache", str(tmp_path / "mnt/c"))


def test_authorities_under_the_mountpoint_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")

    assert "--origin-ca" in complaint(str(tmp_path), "--origin-ca", str(tmp_path / "ca.pem"), "--cache", "/elsewhere")


def test_authorities_in_another_mount_of_flyfs_are_refused() -> None:
    with pytest.raises(ConfigError, match="/mnt/b/ca.pem lies in a mount of flyfs; choose a place outside"):
        read_mount_config(["/mnt/a", "--origin-ca", "/mnt/b/ca.pem"], NO_FILE, ["/mnt/b"])
