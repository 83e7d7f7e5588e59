"""The origins that are out there, as they are: nginx with both listings, and Python's ``http.server``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flyfs.core.blob import ValidatorKind
from flyfs.core.errors import Denied, NotFound
from flyfs.core.grid import MIB, ByteRange
from flyfs.core.remote import EntryKind
from flyfs.core.urls import parse_url
from flyfs.origin.answers import OriginDirectory, OriginHead, VersionChanged
from flyfs.origin.client import OriginClient
from tests.flyfs.origin.origins import a_client
from tests.support.hostile_origin import pattern
from tests.support.nginx import NginxOrigin

NAMES = [
    "plain",
    "with space",
    "a#b",
    "100%",
    "%41",
    "q?x=1",
    "café",
    os.fsdecode(b"lat\xe9"),
    "é" * 127,
    "x" * 255,
    "a:b",
    "<&>\"'",
    "[~]",
]


async def read(client: OriginClient, url: str, part: tuple[int, int] | None = None, expect: OriginHead | None = None) -> bytes:
    got, buffer = bytearray(), memoryview(bytearray(MIB))
    async with client.read(parse_url(url), ByteRange(*part) if part else None, {}, expect) as body:
        while count := await body.receive_into(buffer):
            got += buffer[:count]
    return bytes(got)


async def head_of(client: OriginClient, url: str) -> OriginHead:
    answer = await client.stat(parse_url(url), {})
    assert isinstance(answer, OriginHead)
    return answer


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "dir" / "sub").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (root / "dir" / name).write_bytes(pattern(1000 + number, number))
    (root / "dir" / "empty").touch()
    (root / "big").write_bytes(pattern(9 * MIB + 1))
    root.chmod(0o755)
    return root


@pytest.mark.fuse
@pytest.mark.parametrize("listings", ["html", "json"])
async def test_every_name_that_nginx_lists_can_be_asked_for_and_is_what_the_listing_says(tree: Path, listings: str) -> None:
    with NginxOrigin.serving(tree, listings=listings) as nginx:
        async with a_client(stall_timeout_s=10) as client:
            directory = parse_url(nginx.url("/dir/"))
            listing = await client.list(directory, {})

            assert (listing.listed, listing.skipped) == (True, 0)
            assert sorted(entry.name for entry in listing.entries) == sorted([*NAMES, "empty", "sub"])
            for entry in listing.entries:
                answer = await client.stat(directory.child(entry.name, entry.query), {})
                if entry.kind is EntryKind.DIRECTORY:
                    assert answer == OriginDirectory(url=directory.child("sub").as_directory())
                    continue
                assert isinstance(answer, OriginHead)
                assert answer.size == entry.size == (tree / "dir" / entry.name).stat().st_size
                assert answer.validator.kind is ValidatorKind.ETAG
                assert answer.modified_s is not None
                assert entry.modified_s == (answer.modified_s if listings == "json" else answer.modified_s // 60 * 60)
                content = (tree / "dir" / entry.name).read_bytes()
                assert await read(client, str(directory.child(entry.name)), (0, 500), answer) == content[:500]


@pytest.mark.fuse
async def test_nginx_serves_parts_and_the_whole_and_tells_a_new_version(tree: Path) -> None:
    content = (tree / "big").read_bytes()
    with NginxOrigin.serving(tree) as nginx:
        async with a_client(stall_timeout_s=10) as client:
            url = nginx.url("/big")
            head = await head_of(client, url)
            assert await read(client, url, (5, 300_000), head) == content[5:300_000]
            assert await read(client, url, (5, len(content)), head) == content[5:]
            assert await read(client, url, None, head) == content
            assert await read(client, nginx.url("/dir/empty"), (0, 1000)) == b""

            (tree / "big").write_bytes(content[:-1] + b"x")
            os.utime(tree / "big", (1, 1))
            with pytest.raises(VersionChanged):
                await read(client, url, (5, 300_000), head)


@pytest.mark.fuse
async def test_an_nginx_directory_without_a_listing_is_there_but_not_listed(tree: Path) -> None:
    with NginxOrigin.serving(tree, directives="location /dir/ { autoindex off; } location /secret { return 401; }") as nginx:
        async with a_client(stall_timeout_s=10) as client:
            listing = await client.list(parse_url(nginx.url("/dir/")), {})
            assert (listing.entries, listing.listed) == ((), False)
            assert (await client.list(parse_url(nginx.url("/dir/sub/")), {})).listed is False
            with pytest.raises(NotFound):
                await client.list(parse_url(nginx.url("/nothing/")), {})
            with pytest.raises(Denied):
                await client.list(parse_url(nginx.url("/secret")), {})


async def test_pythons_http_server_is_read_from_the_start_because_it_ignores_range(tree: Path) -> None:
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tree)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:  # noqa: ASYNC220 - starting is quick
        try:
            assert server.stdout is not None
            origin = f"http://127.0.0.1:{server.stdout.readline().split(' port ')[1].split()[0]}"
            async with a_client(stall_timeout_s=10) as client:
                listing = await client.list(parse_url(f"{origin}/dir"), {})
                assert {entry.name for entry in listing.entries} >= {"plain", "q?x=1", "%41", "café", "sub"}
                assert isinstance(await client.stat(parse_url(f"{origin}/dir"), {}), OriginDirectory)

                head = await head_of(client, f"{origin}/big")
                assert (head.size, head.validator.kind, head.accepts_ranges) == (9 * MIB + 1, ValidatorKind.MODIFIED, None)
                async with client.read(parse_url(f"{origin}/big"), ByteRange(100, 200), {}, head) as body:
                    assert (body.sequential, body.head.length) == (True, 9 * MIB + 1)
                assert await read(client, f"{origin}/big", None, head) == (tree / "big").read_bytes()
                assert await read(client, f"{origin}/dir/empty", (0, 100)) == b""
        finally:
            server.kill()
