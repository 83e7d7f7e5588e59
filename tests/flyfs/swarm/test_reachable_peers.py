"""Peers behind NAT and with wrong addresses, real but the mount: served, and named to nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from flyfs.core.address import Address
from flyfs.transport.greeting import bound_address, listen, serve
from supernode.server import dial_back
from tests.flyfs.swarm.rig import PIECE, a_world, until


@contextmanager
def a_port(*, answers: bool) -> Iterator[str]:
    """An address where nobody listens, or where connections are taken and nothing is said."""
    listener = listen(Address("127.0.0.1", 0))
    address = str(bound_address(listener))
    if not answers:
        listener.close()
    yield address
    listener.close()


async def test_a_peer_that_others_reach_learns_so_and_is_named(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne:
        await until(lambda: anne.swarm.repute.reached)
        assert anne.swarm.repute.unreached is None
        url, content = world.put("/f", 20)
        assert await anne.content(url) == content
        await anne.settled()
        async with world.peer("b") as bert:
            assert await bert.content(url) == content
            await bert.settled()

        assert anne.counters.served_bytes == bert.counters.peer_bytes > 0
        assert world.supernode.sessions.dial_back.unreachable() == []


@pytest.mark.parametrize(("answers", "reason"), [(False, "cannot connect"), (True, "no answer in time")])
async def test_a_peer_that_nobody_reaches_completes_and_is_named_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bool, reason: str
) -> None:
    monkeypatch.setattr(dial_back, "ANSWER_S", 0.3)
    with a_port(answers=answers) as address:
        async with a_world(tmp_path) as world, world.peer("a", address=address) as anne:
            url, content = world.put("/f", 20)
            assert await anne.content(url) == content
            await anne.settled()
            await until(lambda: anne.swarm.repute.reached is False)
            assert str(anne.swarm.repute.unreached).startswith(reason)
            ((claim, told),) = world.supernode.sessions.dial_back.unreachable()
            assert (claim.peer_id, claim.address, told) == (anne.store.peer_id, address, anne.swarm.repute.unreached)

            async with world.peer("b") as bert:
                assert await bert.content(url) == content
                await bert.settled()
                assert bert.counters.peer_bytes == 0, "nobody was sent there"
                assert not bert.swarm.neighbours.shunned.peers(trio.current_time())
                assert not bert.swarm.neighbours.connected
            assert world.sent_bytes("/f") == len(content)


async def test_a_peer_that_says_it_is_another_one_is_named_to_nobody(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a") as anne:
        await until(lambda: anne.swarm.repute.reached)
        async with world.peer("b", address=anne.swarm.address) as bert:
            await until(lambda: bert.swarm.repute.reached is False)
            assert bert.swarm.repute.unreached == "another peer answers there"


async def test_a_leech_claims_nothing_and_is_told_nothing(tmp_path: Path) -> None:
    async with a_world(tmp_path) as world, world.peer("a", leech=True) as anne:
        url, content = world.put("/f", 2)
        assert await anne.content(url) == content
        assert anne.swarm.repute.reached is None
        assert world.supernode.sessions.dial_back.unreachable() == []


async def test_a_peer_that_becomes_reachable_is_introduced_to_those_who_read_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supernode.server.reachability.AGAIN_S", (0.5, 0.5))
    async with a_world(tmp_path) as world:
        with a_port(answers=False) as address:
            pass
        url, content = world.put("/f", 60)
        async with world.peer("a", address=address) as anne, world.peer("b") as bert, bert.opened(url) as blob:
            async with anne.opened(url) as other:
                await other.read(0, 1)
                await until(lambda: anne.swarm.repute.reached is False)
                late = listen(Address("127.0.0.1", int(address.rpartition(":")[2])))
                async with trio.open_nursery() as nursery:
                    await nursery.start(partial(serve, late, anne.swarm.identity.welcome, anne.swarm.serve))
                    await until(lambda: anne.swarm.repute.reached)
                    await until(lambda: [one.peer_id for one in bert.swarm.neighbours.connected] == [anne.store.peer_id])
                    nursery.cancel_scope.cancel()
            assert blob.blob.size == len(content) == 60 * PIECE
