"""What is asked of a cache, with an open store."""

import os
from pathlib import Path
from typing import Any

from trio.testing import MockClock, wait_all_tasks_blocked

from flyfs.control.cache import answer_cache, list_from_outside
from flyfs.control.messages import CacheCollect, CacheList, CacheRemove, CacheRequest, CacheVerify
from flyfs.store.store import Store
from tests.flyfs.store.builders import PIECE_BYTES, a_blob, fill

A, B = a_blob(2.5, name="a?token=secret"), a_blob(4, name="b")


async def ask(store: Store, request: CacheRequest) -> tuple[Any, list[Any]]:
    """The answer, and the rows before it."""
    rows: list[Any] = []

    async def tell(row: object) -> None:
        rows.append(row)

    return await answer_cache(store, request, tell), rows


async def fill_both(store: Store, clock: MockClock) -> None:
    for blob in (A, B):
        stored = await store.create(blob)
        await fill(stored)
        while not stored.durable.complete or stored.in_use:
            await wait_all_tasks_blocked(0.002)
            clock.jump(1)


async def test_what_is_held_is_told_blob_by_blob(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path, limit_bytes=1 << 20) as store:
        await fill_both(store, mock_clock)
        b = store.find(B.id)
        assert b is not None
        with b.use():
            answer, rows = await ask(store, CacheList())

    assert answer == {"used_bytes": A.size + B.size, "limit_bytes": 1 << 20}
    assert [(row["id"], row["held_bytes"], row["held_pieces"], row["in_use"]) for row in rows] == [
        (A.id, A.size, 3, False),
        (B.id, B.size, 4, True),
    ]
    assert rows[0]["url"] == "http://origin.test/a?…"
    assert [row | {"in_use": None, "used_at": ""} for row in rows] == [
        row | {"used_at": ""} for row in list_from_outside(tmp_path)
    ], "who looks from outside sees the same"


async def test_what_is_in_use_is_not_removed(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        await fill_both(store, mock_clock)
        b = store.find(B.id)
        assert b is not None
        with b.use():
            answer, _ = await ask(store, CacheRemove((A.id, B.url, "http://origin.test/c", "")))

        assert [row["id"] for row in answer["removed"]] == [A.id]
        assert [row["id"] for row in answer["in_use"]] == [B.id]
        assert (answer["unknown"], answer["ambiguous"]) == (("http://origin.test/c", ""), ())
        assert store.blob_ids() == [B.id]


async def test_a_collection_ends_where_it_was_told_to_and_spares_what_is_in_use(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        await fill_both(store, mock_clock)
        assert (await ask(store, CacheCollect(None)))[0]["blobs"] == 0
        a = store.look(A.id)
        assert a is not None
        with a.pin():
            answer, rows = await ask(store, CacheCollect(0))
        assert answer == {"blobs": 1, "freed_bytes": B.size, "used_bytes": A.size, "limit_bytes": None}
        assert (rows, store.blob_ids()) == ([], [A.id])
        with a.use(range(1)):
            answer, _ = await ask(store, CacheCollect(0))
        assert (answer["blobs"], answer["used_bytes"], list(a.have)) == (0, PIECE_BYTES, [0]), "piece by piece what nobody is in"


async def test_a_verification_tells_what_was_damaged_and_how_far_it_is(tmp_path: Path, mock_clock: MockClock) -> None:
    async with Store.open(tmp_path) as store:
        await fill_both(store, mock_clock)
        a = store.look(A.id)
        assert a is not None
        os.pwrite(a.fileno, b"damage", 5)
        answer, rows = await ask(store, CacheVerify())

    assert answer == {"blobs": 2, "pieces": 7, "bytes": A.size + B.size, "damaged": 1}
    told = {"id": A.id, "url": "http://origin.test/a?…", "piece": 0, "reason": "its bytes do not match its digest"}
    assert {"damaged": told} in rows
    assert rows[-1] == {"done_bytes": A.size + B.size, "whole_bytes": A.size + B.size}
