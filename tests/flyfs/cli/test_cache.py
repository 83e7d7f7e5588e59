"""``flyfs cache`` on caches that nobody has, that a daemon has, and that somebody else has."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from flyfs.cli.cache import _ProofRows
from flyfs.cli.cache_report import count, tabulate, tell_collected, tell_damage, tell_verified
from flyfs.core.blob import Blob
from flyfs.store.directory_lock import DirectoryLock
from flyfs.store.store import Store
from tests.flyfs.cli.conftest import Host
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, fill

A, B = a_blob(2.5, name="a?token=secret"), a_blob(4, name="b")


def make_cache(directory: Path, *blobs: Blob) -> Path:
    """A cache that holds ``blobs``, the first one the longest unused, and that nobody has."""

    async def make() -> None:
        async with Store.open(directory) as store:
            for blob in blobs:
                await fill(await store.create(blob))

    trio.run(make)
    for at, blob in enumerate(blobs):
        for name in ("head", "durable"):
            path = directory / "blobs" / blob.id[:2] / blob.id / name
            os.utime(path, (1_000_000_000 + at, 1_000_000_000 + at))
    return directory


def damage(directory: Path, blob: Blob, piece: int) -> None:
    with (directory / "blobs" / blob.id[:2] / blob.id / "data").open("r+b") as data:
        data.seek(piece * PIECE_BYTES)
        data.write(b"damage")


def test_a_cache_that_nobody_has_is_listed_without_secrets(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)
    before = sorted(path.stat().st_mtime_ns for path in cache.rglob("*"))

    status, out, err = host.run("cache", "ls", "--cache", str(cache))
    assert (status, err) == (0, "")
    head, columns, *rows = out.splitlines()
    assert head == f"{cache}: 26.0 KiB in 2 blobs"
    assert columns.split() == ["BLOB", "HELD", "SIZE", "PIECES", "USED", "URL"]
    assert rows[0].split() == [B.id[:12], "16.0", "KiB", "16.0", "KiB", "4/4", "2001-09-09T01:46:41Z", B.url]
    assert rows[1].split() == [
        *(A.id[:12], "10.0", "KiB", "10.0", "KiB", "3/3", "2001-09-09T01:46:40Z", "http://origin.test/a?…"),
    ]
    assert sorted(path.stat().st_mtime_ns for path in cache.rglob("*")) == before, "whoever lists changes nothing"

    status, out, _ = host.run("cache", "ls", "--cache", str(cache), "--json")
    assert status == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "cache": str(cache),
            "id": blob.id,
            "url": url,
            "size": blob.size,
            "held_bytes": blob.size,
            "pieces": len(blob.grid),
            "held_pieces": len(blob.grid),
            "used_at": used_at,
            "in_use": None,
        }
        for blob, url, used_at in (
            (A, "http://origin.test/a?…", "2001-09-09T01:46:40Z"),
            (B, B.url, "2001-09-09T01:46:41Z"),
        )
    ]


def test_what_is_no_cache_is_told_and_not_made(host: Host) -> None:
    for action in (["ls"], ["rm", "x"], ["gc"], ["verify"]):
        status, out, err = host.run("cache", *action, "--cache", str(host.directory / "none"))
        assert (status, out) == (1, "")
        assert err.startswith(f"flyfs: cache: {host.directory}/none is no cache of flyfs: it holds no file 'version'")
    assert not (host.directory / "none").exists()


def test_blobs_are_removed_by_url_and_by_id(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)

    status, out, err = host.run("cache", "rm", B.url, A.id[:10], "http://origin.test/other", "--cache", str(cache))
    assert (status, err) == (1, "flyfs: cache: in no cache: http://origin.test/other; flyfs cache ls tells what there is\n")
    assert out == f"dropped {A.id[:12]} (10.0 KiB) http://origin.test/a?…\ndropped {B.id[:12]} (16.0 KiB) {B.url}\n"
    assert host.run("cache", "ls", "--cache", str(cache)) == (0, f"{cache}: 0 B in 0 blobs\n", "")
    assert list((cache / "blobs").glob("*/*")) == []


def test_removed_blobs_are_told_as_documents_too(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)

    status, out, _ = host.run("cache", "rm", A.id, "--json", "--cache", str(cache))
    assert status == 0
    (document,) = map(json.loads, out.splitlines())
    assert (document["cache"], document["id"]) == (str(cache), A.id)


def test_the_least_recently_used_go_down_to_a_size_and_leftovers_with_them(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)
    (cache / "dropped" / "left").mkdir()
    assert host.run("cache", "gc", "--cache", str(cache)) == (0, f"{cache}: freed 0 B of 0 blobs; 26.0 KiB are left\n", "")
    assert list((cache / "dropped").iterdir()) == []

    expected = f"{cache}: freed 10.0 KiB of 1 blob; 16.0 KiB are left\n"
    assert host.run("cache", "gc", "--cache-limit", "20KiB", "--cache", str(cache)) == (0, expected, "")
    _, out, _ = host.run("cache", "gc", "--to", "0", "--json", "--cache", str(cache))
    assert json.loads(out) == {
        "cache": str(cache),
        "blobs": 1,
        "freed_bytes": B.size,
        "used_bytes": 0,
        "limit_bytes": None,
    }


def test_a_verification_of_sound_bytes_ends_well(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)

    assert host.run("cache", "verify", "--cache", str(cache)) == (
        0,
        f"{cache}: 7 pieces of 2 blobs, 26.0 KiB: all right\n",
        "",
    )


def test_a_verification_reports_damage_drops_it_and_fails(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)
    damage(cache, A, 1)

    status, out, err = host.run("cache", "verify", "--cache", str(cache))
    assert status == 1
    assert out == (
        f"damaged: piece 1 of blob {A.id[:12]}: its bytes do not match its digest; dropped (http://origin.test/a?…)\n"
        f"{cache}: 7 pieces of 2 blobs, 26.0 KiB: 1 damaged\n"
    )
    assert err == (
        "flyfs: cache: 1 piece was damaged and dropped; they are fetched again when they are read. "
        "Where that goes on, look after the disk\n"
    )
    damage(cache, B, 0)
    status, out, _ = host.run("cache", "verify", "--cache", str(cache), "--json")
    assert status == 1
    (damaged,) = json.loads(out).pop("damaged")
    assert damaged == {"id": B.id, "url": B.url, "piece": 0, "reason": "its bytes do not match its digest"}
    assert host.run("cache", "verify", "--cache", str(cache))[0] == 0


def with_daemon(host: Host, act: Callable[[str], None], *options: str) -> None:
    """Acts while a daemon has a cache of ``A`` and ``B``."""
    cache = make_cache(host.directory / "c", A, B)
    place = str(host.mountpoint())
    assert host.run("mount", place, "--cache", str(cache), *options, fake="with a store") == (0, "", "")
    try:
        act(str(cache))
    finally:
        assert host.run("umount", place)[0] == 0


def test_a_daemon_that_has_the_cache_does_it(host: Host) -> None:
    def act(cache: str) -> None:
        status, out, err = host.run("cache", "ls", "--json", "--cache", cache)
        assert (status, err) == (0, "")
        assert [json.loads(line)["in_use"] for line in out.splitlines()] == [False, False]
        assert host.run("cache", "ls", "--cache", cache)[1].startswith(f"{cache}: 26.0 KiB of 1.0 MiB in 2 blobs\n")
        damage(Path(cache), B, 3)
        status, out, err = host.run("cache", "verify", "--cache", cache)
        assert (status, out.splitlines()[-1]) == (1, f"{cache}: 7 pieces of 2 blobs, 26.0 KiB: 1 damaged")
        assert host.run("cache", "rm", A.id, "--cache", cache)[0] == 0
        assert host.run("cache", "gc", "--to", "0", "--cache", cache) == (
            0,
            f"{cache}: freed 12.0 KiB of 1 blob; 0 B are left\n",
            "",
        )

    with_daemon(host, act, "--cache-limit", "1MiB")


def test_a_process_that_takes_no_commands_is_named_and_listed_all_the_same(host: Host) -> None:
    cache = make_cache(host.directory / "c", A, B)
    with DirectoryLock(cache, "flyfs-supernode --listen 127.0.0.1:7400"):
        said = (
            f"flyfs: cache: the cache directory {cache} is in use by process {os.getpid()} "
            "(flyfs-supernode --listen 127.0.0.1:7400); give another one (--cache), or end that process first\n"
        )
        for action in (["rm", "x"], ["gc"], ["verify"]):
            assert host.run("cache", *action, "--cache", str(cache)) == (1, "", said)
        assert host.run("cache", "ls", "--cache", str(cache))[:2][0] == 0


def test_all_caches_of_the_usual_place_are_asked_and_one_that_cannot_be_is_a_failure(host: Host) -> None:
    home = host.directory / "home" / "flyfs"
    first, second = make_cache(home / "first", A), make_cache(home / "second", B)
    (home / "no cache").mkdir()
    script = (
        "import sys\nfrom pathlib import Path\nfrom flyfs.cli.main import main\nimport flyfs.config.cache as cache\n"
        f"cache.cache_home = lambda environment: Path({str(home)!r})\nsys.exit(main(sys.argv[1:]))\n"
    )

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=host.environment(""),
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    status, out, err = run("cache", "ls")
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith("/")] == [
        f"{first}: 10.0 KiB in 1 blob",
        f"{second}: 16.0 KiB in 1 blob",
    ]
    with DirectoryLock(first, "somebody"):
        status, out, err = run("cache", "verify")
    assert (status, out) == (1, f"{second}: 4 pieces of 1 blob, 16.0 KiB: all right\n")
    assert f"in use by process {os.getpid()} (somebody)" in err
    assert run("cache", "rm", A.id, B.id)[0] == 0
    status, out, err = run("cache", "rm", A.id)
    assert (status, out, err.startswith("flyfs: cache: in no cache: ")) == (1, "", True)


def test_without_any_cache_there_is_nothing_to_do(host: Host) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom flyfs.cli.main import main\nimport flyfs.config.cache as cache\n"
        "cache.cache_home = lambda environment: Path('/no/such')\nsys.exit(main(['cache', 'ls']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False, env=host.environment(""), timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == ("flyfs: cache: there is no cache in /no/such, and no mount that can be asked; name one with --cache\n")


def test_help_is_told(host: Host) -> None:
    status, out, _ = host.run("cache", "--help")
    assert (status, "verify" in out) == (0, True)
    status, out, _ = host.run("cache", "rm", "--help")
    assert (status, "URL|BLOB-ID" in out) == (0, True)
    assert host.run("cache") == (2, "", "flyfs: cache: what is to be done is missing; see flyfs cache --help\n")


# -- words -------------------------------------------------------------------------------------------------------------


class Bar:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def begin(self, size: int | None) -> None:
        self.told.append(("of", size))

    def advance(self, size: int) -> None:
        self.told.append(size)


def test_a_bar_advances_with_the_rows() -> None:
    bar = Bar()
    rows = _ProofRows(bar)
    for row in ({"done_bytes": 3, "whole_bytes": 10}, {"news": 1}, {"done_bytes": 10, "whole_bytes": 10}, {"damaged": "x"}):
        rows(row)
    assert (bar.told, rows.damaged) == ([("of", 10), 3, 7], ["x"])


def test_a_cache_with_a_limit_and_a_blob_in_use_are_told() -> None:
    row = {
        "id": "ab" * 32,
        "url": "http://h/x",
        "size": 2048,
        "held_bytes": 1024,
        "pieces": 2,
        "held_pieces": 1,
        "used_at": "2026-05-04T10:20:30Z",
        "in_use": True,
    }
    assert tabulate("/c", [row], {"used_bytes": 1024, "limit_bytes": 4096}) == (
        "/c: 1.0 KiB of 4.0 KiB in 1 blob\n"
        "BLOB          HELD     SIZE     PIECES  USED                          URL\n"
        "abababababab  1.0 KiB  2.0 KiB  1/2     2026-05-04T10:20:30Z  in use  http://h/x\n"
    )


def test_damage_of_a_whole_blob_is_told() -> None:
    assert tell_damage({"id": "ab" * 32, "url": "u", "piece": None, "reason": "its files are damaged"}) == (
        "damaged: blob abababababab: its files are damaged; dropped (u)\n"
    )
    assert tell_verified("/c", {"pieces": 1, "blobs": 1, "bytes": 5, "damaged": 2}) == "/c: 1 piece of 1 blob, 5 B: 2 damaged\n"
    assert tell_collected("/c", {"freed_bytes": 5, "blobs": 0, "used_bytes": 1}) == "/c: freed 5 B of 0 blobs; 1 B are left\n"
    assert (count(1, "piece"), count(0, "piece")) == ("1 piece", "0 pieces")
