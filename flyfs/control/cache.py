"""What ``flyfs cache`` asks, done with an open store: the same for a daemon's own and for one that nobody else has. Shell."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flyfs.control.messages import CacheCollect, CacheList, CacheRemove, CacheRequest, CacheVerify, Tell
from flyfs.core.blob import Blob
from flyfs.store.blob_scan import held_from_outside
from flyfs.store.holdings import Holding, select_blobs
from flyfs.store.scrub import Damage, Progress, scrub
from flyfs.store.store import Store
from flyfs.telemetry.log import redact_urls
from flyfs.telemetry.status import rfc3339


async def answer_cache(store: Store, request: CacheRequest, tell: Tell) -> dict[str, object]:
    """Does what was asked; rows first, then what it comes to. Raises FlyfsError."""
    match request:
        case CacheList():
            for holding in store.holdings():
                await tell(_row(holding))
            figures = store.statistics()
            return {"used_bytes": figures.used_bytes, "limit_bytes": figures.limit_bytes}
        case CacheRemove(names):
            return await _remove(store, names)
        case CacheCollect(to_bytes):
            collected = await store.collect(to_bytes)
            figures = store.statistics()
            return {
                "blobs": collected.blobs,
                "freed_bytes": collected.freed_bytes,
                "used_bytes": figures.used_bytes,
                "limit_bytes": figures.limit_bytes,
            }
        case CacheVerify():
            return await _verify(store, tell)


def list_from_outside(directory: Path) -> Iterable[dict[str, Any]]:
    """The rows of a cache that somebody else has, or nobody: read, not opened. Raises OSError."""
    return map(_row, held_from_outside(directory))


async def _remove(store: Store, names: tuple[str, ...]) -> dict[str, object]:
    selection = select_blobs(store.blobs(), names)
    removed: list[object] = []
    in_use: list[object] = []
    for holding in store.holdings():
        if holding.blob.id in selection.blob_ids:
            if holding.in_use:
                in_use.append(_row(holding))
            else:
                await store.drop(holding.blob.id)
                removed.append(_row(holding))
    return {"removed": removed, "in_use": in_use, "unknown": selection.unknown, "ambiguous": selection.ambiguous}


async def _verify(store: Store, tell: Tell) -> dict[str, object]:
    async def tell_row(news: Progress | Damage) -> None:
        match news:
            case Progress(done_bytes=done_bytes, whole_bytes=whole_bytes):
                await tell({"done_bytes": done_bytes, "whole_bytes": whole_bytes})
            case Damage(blob=blob, piece=piece, reason=reason):
                await tell({"damaged": {**_name(blob), "piece": piece, "reason": reason}})

    result = await scrub(store, tell_row)
    return {"blobs": result.blobs, "pieces": result.pieces, "bytes": result.done_bytes, "damaged": result.damaged}


def _row(holding: Holding) -> dict[str, Any]:
    blob = holding.blob
    return {
        **_name(blob),
        "size": blob.size,
        "held_bytes": holding.held_bytes,
        "pieces": len(blob.grid),
        "held_pieces": holding.pieces,
        "used_at": rfc3339(holding.used_at_s),
        "in_use": holding.in_use,
    }


def _name(blob: Blob) -> dict[str, object]:
    return {"id": blob.id, "url": redact_urls(blob.url)}
