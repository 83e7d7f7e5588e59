"""Peers that lie or stall, against a real supernode and real readers: who is told, who is sent where, and the way back."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from flyfs.core.ids import BlobId
from flyfs.core.urls import RemoteUrl
from flyfs.transport.link import Answer
from flyfs.wire.messages import GetPiece, Report, Shun, Speed, Speeds
from supernode.isolation import Isolation
from supernode.server import spot_check
from supernode.server.isolating import MOST_TOLD
from tests.flyfs.swarm.rig import World, a_world, until
from tests.flyfs.swarm.test_lying_peers import PIECES, Liar, wrong_bytes
from tests.support.builders import a_peer_id

SAW_IT = "sends wrong bytes, as the supernode saw for itself"


@asynccontextmanager
async def a_file_that_a_liar_offers(
    directory: Path, answer: Callable[[Liar, GetPiece], Answer] = wrong_bytes, *, open_s: tuple[float, float] = (60.0, 60.0)
) -> AsyncGenerator[tuple[World, Liar, RemoteUrl, bytes], None]:
    """The supernode knows the digests; nobody but the liar offers the file. Isolation lasts ``open_s``."""
    async with a_world(directory) as world:
        world.supernode.sessions.isolating.isolation = Isolation(open_s=open_s)
        url, content = world.put("/f", PIECES)
        async with world.peer("first") as first:
            assert await first.content(url) == content
            file = await first.find(url)
        assert file.blob is not None
        await until(lambda: world.supernode.members() == 0)
        liar = Liar(file.blob, content, answer)
        async with liar.joined(world):
            yield world, liar, url, content


def isolated(world: World) -> list[tuple[str, str]]:
    found = world.supernode.sessions.isolating.isolated(10)
    return [(peer, standing.reason) for peer, _, standing in found]


async def test_a_peer_that_sends_the_supernode_wrong_bytes_too_is_isolated_and_everybody_concerned_hears_why(
    tmp_path: Path,
) -> None:
    async with a_file_that_a_liar_offers(tmp_path) as (world, liar, url, content), world.peer("anne") as anne:
        assert await anne.content(url) == content
        await until(lambda: isolated(world) == [(liar.peer_id, SAW_IT)])
        await until(lambda: anne.swarm.neighbours.shunned.has(liar.peer_id, trio.current_time()))
        (known,) = anne.swarm.neighbours.shunned.peers(trio.current_time())
        assert known.reason == SAW_IT
        await until(lambda: any(isinstance(one, Shun) and one.peer_id == liar.peer_id for one in liar.heard))
        asked = len(liar.asked)

        async with world.peer("bert") as bert:
            assert await bert.content(url) == content
            assert bert.counters.pieces_rejected == 0
        assert len(liar.asked) == asked

        async with liar.joined(world):  # it comes again, and is where it was
            assert await anne.content(url) == content
            assert [peer for peer, _ in isolated(world)] == [liar.peer_id]


async def test_a_peer_that_was_repaired_comes_back_through_one_readers_trial(tmp_path: Path) -> None:
    async with a_file_that_a_liar_offers(tmp_path, open_s=(0.2, 1.0)) as (world, liar, url, content):
        isolation = world.supernode.sessions.isolating.isolation
        async with world.peer("anne") as anne:
            assert await anne.content(url) == content
            await until(lambda: isolation.isolations == 1)
        liar._answer = Liar.piece
        await until(lambda: isolation.standing(liar.peer_id, trio.current_time()).state == "probation")

        async with world.peer("bert") as bert:
            assert await bert.content(url) == content
            assert bert.counters.peer_bytes > 0
            await until(lambda: isolation.standing(liar.peer_id, trio.current_time()).state == "healthy")
        assert isolation.isolations == 1


async def test_a_peer_that_lies_to_one_reader_only_is_kept_from_that_reader_and_serves_the_others(tmp_path: Path) -> None:
    async with a_file_that_a_liar_offers(tmp_path, Liar.piece) as (world, liar, url, content):
        async with world.peer("anne") as anne:
            world.supernode.sessions.isolating.told(anne.store.peer_id, a_report(liar, "corrupt", piece=3))
            assert await anne.content(url) == content
            assert anne.counters.peer_bytes == 0
        async with world.peer("bert") as bert:
            assert await bert.content(url) == content
            assert bert.counters.peer_bytes > 0
        assert isolated(world) == []


def a_report(liar: Liar, fault: str, piece: int | None = None) -> Report:
    return Report(peer_id=liar.peer_id, blob_id=liar.blob.id, fault=fault, piece=piece)


async def test_reports_about_strangers_and_pieces_that_do_not_exist_are_nothing(tmp_path: Path) -> None:
    async with a_file_that_a_liar_offers(tmp_path) as (world, liar, _, _):
        isolating = world.supernode.sessions.isolating
        stranger, anne = a_peer_id("stranger"), a_peer_id("anne")
        isolating.told(anne, Report(peer_id=stranger, blob_id=liar.blob.id, fault="corrupt", piece=0))
        isolating.told(anne, Speeds(blob_id=liar.blob.id, measured=(Speed(peer_id=stranger, size=1, busy_s=1.0, pieces=1),)))
        isolating.told(anne, a_report(liar, "corrupt", piece=PIECES))
        await until(lambda: not isolating._check._running)

        assert len(isolating.isolation) == 1
        assert liar.asked == []


async def test_a_peer_is_checked_once_in_a_while_and_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_file_that_a_liar_offers(tmp_path, Liar.piece) as (world, liar, _, _):
        check = world.supernode.sessions.isolating._check
        member = world.supernode.coordinator.members.find(liar.peer_id)
        assert member is not None
        proved: list[Any] = []
        for _ in range(3):
            check.suspect(member, liar.blob.id, 1, lambda *one: proved.append(one))
        await until(lambda: not check._running)
        check.suspect(member, liar.blob.id, 1, lambda *one: proved.append(one))
        assert (liar.asked, proved) == ([1], [])

        monkeypatch.setattr(spot_check, "AGAIN_S", 0.0)
        liar._answer = wrong_bytes
        check.suspect(member, liar.blob.id, 2, lambda *one: proved.append(one))
        await until(lambda: not check._running)
        check.suspect(member, BlobId("00" * 32), 2, lambda *one: proved.append(one))
        await until(lambda: not check._running)
        assert (liar.asked, proved) == ([1, 2], [(member, SAW_IT)])


async def test_who_was_sent_to_a_peer_is_remembered_within_bounds(tmp_path: Path) -> None:
    async with a_file_that_a_liar_offers(tmp_path) as (world, liar, _, _):
        isolating = world.supernode.sessions.isolating
        member = world.supernode.coordinator.members.find(liar.peer_id)
        assert member is not None
        for session in range(1000, 1000 + MOST_TOLD + 9):
            isolating.name(a_peer_id(str(session)), session, [member])

        assert len(isolating._sent_to[liar.peer_id]) == MOST_TOLD
    await until(lambda: not isolating._sent_to)
