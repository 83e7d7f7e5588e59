import json
from pathlib import Path

import pytest

from tests.flyfs.cli.conftest import Host


def run(host: Host, *arguments: str, fake: str = "") -> tuple[int, str, str]:
    return host.run("--cache", str(host.cache), *arguments, fake=fake, program="supernode")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--liste", "x"], "flyfs-supernode: there is no option --liste; did you mean --listen?\n"),
        (["--export", "a=/b"], "flyfs-supernode: --export: not in this version; leave it out\n"),
        (["--listen", "x"], "flyfs-supernode: --listen: 'x' is not HOST:PORT\n"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(host: Host, arguments: list[str], said: str) -> None:
    assert run(host, *arguments) == (2, "", said)
    assert not host.cache.exists()


def test_it_runs_until_it_ends(host: Host) -> None:
    assert run(host, "--listen", "127.0.0.1:0") == (0, "ready peers=127.0.0.1:0 http=127.0.0.1:7401\n", "")
    assert host.cache.is_dir()


def test_a_failure_is_one_line_and_status_1(host: Host) -> None:
    assert run(host, fake="refuse") == (1, "", "flyfs-supernode: --listen: 127.0.0.1:7400 is taken\n")


def test_interrupted_it_says_nothing(host: Host) -> None:
    assert run(host, fake="interrupted") == (130, "", "")


def test_a_bug_keeps_its_traceback(host: Host) -> None:
    status, _, err = run(host, fake="crash")

    assert status == 1
    assert "Traceback" in err
    assert err.endswith("ZeroDivisionError: a bug\n")


def test_a_cache_that_cannot_be_written_is_told(host: Host) -> None:
    host.cache.write_text("a file")

    assert run(host) == (
        1,
        "",
        f"flyfs-supernode: {host.cache}: cannot be written: File exists; choose another place with --cache\n",
    )


def test_an_embedded_one_logs_to_a_file_of_its_own(host: Host) -> None:
    status, out, _ = run(host, "--embedded", "--parent-pipe", "0", "--listen", "127.0.0.1:0")

    assert (status, out) == (0, "ready peers=127.0.0.1:0 http=None\n")
    assert (host.cache / "supernode.log").exists()
    assert [json.loads(line) for line in (host.cache / "supernode.log").read_text().splitlines()] == []
    assert sorted(path.name for path in Path(host.cache).iterdir()) == ["supernode.log"]


def test_its_version_and_help_are_told(host: Host) -> None:
    assert host.run("--version", program="supernode") == (0, "flyfs-supernode 0.1.0\n", "")
    status, out, err = host.run("--help", program="supernode")
    assert (status, err) == (0, "")
    assert "usage: flyfs-supernode" in out
