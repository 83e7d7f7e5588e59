import subprocess
import sys

import pytest

from flyfs.cli.main import PLANNED, main
from tests.flyfs.cli.conftest import Host


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "flyfs: no command; see flyfs --help\n"),
        (["--verbose"], "flyfs: there is no option --verbose; see flyfs --help\n"),
        (["mont"], "flyfs: there is no command 'mont'; did you mean mount?\n"),
        (["zzz"], "flyfs: there is no command 'zzz'; see flyfs --help\n"),
        (["mount"], "flyfs: mount: the following arguments are required: MOUNTPOINT; see flyfs mount --help\n"),
        (["mount", "/mnt/x", "--header", "a: b"], "flyfs: mount: --header: not in this version; leave it out\n"),
        (["umount"], "flyfs: umount: the following arguments are required: MOUNTPOINT; see flyfs umount --help\n"),
        (["get", "ftp://h/a"], "flyfs: get: not an http or https URL: 'ftp://h/a'\n"),
        (["path", "x"], "flyfs: path: not an http or https URL: 'x'\n"),
        (["status", "--jsn"], "flyfs: status: there is no option --jsn; did you mean --json?\n"),
        *(([name, "any", "--thing"], f"flyfs: {name}: not in this version; see flyfs --help\n") for name in PLANNED),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYFS_CONFIG", "/dev/null")

    assert main(arguments) == 2
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("arguments", [[], ["warm", "x"], ["get", "-"], ["mount", "/mnt/x", "--deadline", "soon"]])
def test_a_process_ends_with_status_2_and_no_traceback(host: Host, arguments: list[str]) -> None:
    status, out, err = host.run(*arguments)

    assert (status, out) == (2, "")
    assert err.startswith("flyfs: ")
    assert err.count("\n") == 1


def test_version_and_help_are_told(host: Host) -> None:
    assert host.run("--version") == (0, "flyfs 0.1.0\n", "")
    status, out, err = host.run("--help")
    assert (status, err) == (0, "")
    assert all(f"  {name}" in out for name in ("mount", "umount", "get", "path", "status"))
    status, out, err = host.run("mount", "--help")
    assert (status, err) == (0, "")
    assert "usage: flyfs mount" in out


def test_path_prints_where_a_url_is_seen(host: Host) -> None:
    assert host.run("path", "HTTPS://Host:443/a/b%20c.bin?v=1") == (0, "https/host/a%2Fb c.bin?v=1\n", "")


def test_a_name_without_a_path_is_a_failure(host: Host) -> None:
    status, out, err = host.run("path", "http://h/" + "x" * 300)

    assert (status, out) == (1, "")
    assert err.startswith("flyfs: path: http://h/xxx")
    assert err.endswith("find it in the listing of its directory\n")


def test_path_imports_no_library_that_mounts_or_fetches(host: Host) -> None:
    script = "import sys; from flyfs.cli.main import main; main(['path', 'http://h/a']); print(*sys.modules)"
    host.variables["PYTHONPATH"] = ""  # the real daemon, were it imported
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, env=host.environment("")
    )
    modules = set(done.stdout.split())

    assert "flyfs.cli.path" in modules
    assert modules.isdisjoint(
        {"trio", "structlog", "httpx", "pyfuse3", "rich", "msgpack", "cryptography", "asyncio", "flyfs.daemon"}
    )


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(host: Host) -> None:
    with host.start("path", "http://h/a") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (BaseExceptionGroup("nursery", [KeyboardInterrupt(), ValueError()]), 130)],
)
def test_an_interrupted_command_ends_with_130(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(url: object) -> str:
        raise error

    monkeypatch.setenv("FLYFS_CONFIG", "/dev/null")
    monkeypatch.setattr("flyfs.cli.path.seen_path", interrupted)
    assert main(["path", "http://h/a"]) == status


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(url: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setenv("FLYFS_CONFIG", "/dev/null")
    monkeypatch.setattr("flyfs.cli.path.seen_path", broken)
    with pytest.raises(ZeroDivisionError):
        main(["path", "http://h/a"])
