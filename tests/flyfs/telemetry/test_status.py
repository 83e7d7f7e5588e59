import json
from dataclasses import dataclass

from flyfs.telemetry.counters import CounterStatistics
from flyfs.telemetry.latency import Quantiles
from flyfs.telemetry.status import (
    Advertised,
    IsolatedOrigin,
    IsolatedPeer,
    LimitFigures,
    ProcessFigures,
    SupernodeFigures,
    UnreachablePeer,
    assemble_status,
    rfc3339,
)


@dataclass(frozen=True)
class Store:
    used_bytes: int = 11
    limit_bytes: int | None = None
    free_bytes: int = 12
    blobs: int = 13
    read_through: bool = True
    damaged: int = 14


def test_the_document_is_that_of_the_contract() -> None:
    document = assemble_status(
        process=ProcessFigures(
            version="0.1.0",
            role="peer",
            peer_id="ab",
            mountpoint="/mnt/fly",
            cache_directory="/var/cache/flyfs/x",
            started_at_s=1_777_890_030.9,
            pid=4711,
        ),
        counters=CounterStatistics(
            origin_bytes=1,
            supernode_bytes=2,
            peer_bytes=3,
            store_bytes=4,
            passed_bytes=8,
            served_bytes=5,
            pieces_verified=6,
            pieces_rejected=7,
        ),
        known_peers=2,
        isolated_peers=[
            IsolatedPeer(peer_id="cd", address="h:1", reason="lies", since_s=1_777_890_035, until_s=1_777_890_040, reporters=2)
        ],
        unreachable_peers=[UnreachablePeer(peer_id="ef", address="h:2", reason="timed out")],
        advertised=Advertised(address="h:3", reachable=False, reason="refused", isolated=("lies", 1_777_890_040)),
        supernodes=[
            SupernodeFigures(address="h:7400", state="up"),
            SupernodeFigures(address="i:7400", state="down", reason="refused"),
        ],
        isolated_origins=[IsolatedOrigin(origin="http://o", reason="refused", since_s=1_777_890_035, until_s=1_777_890_040)],
        store=Store(),
        limit=LimitFigures(receive=20_000_000),
        demand_latency=Quantiles(1.23456, 14.8),
        loop_lag=Quantiles(0.1, 0.98765),
        open_files=3,
    )

    assert json.loads(json.dumps(document)) == {
        "version": "0.1.0",
        "role": "peer",
        "peer_id": "ab",
        "mountpoint": "/mnt/fly",
        "started_at": "2026-05-04T10:20:30Z",
        "pid": 4711,
        "keeper_pid": None,
        "bytes": {"origin": 1, "supernode": 2, "peers": 3, "store": 4, "passed": 8, "served": 5},
        "pieces": {"verified": 6, "rejected": 7},
        "peers": {
            "known": 2,
            "isolated": [
                {
                    "peer": "cd",
                    "address": "h:1",
                    "reason": "lies",
                    "since": "2026-05-04T10:20:35Z",
                    "until": "2026-05-04T10:20:40Z",
                    "reporters": 2,
                }
            ],
            "unreachable": [{"peer": "ef", "address": "h:2", "reason": "timed out"}],
        },
        "advertised": {
            "address": "h:3",
            "reachable": False,
            "reason": "refused",
            "isolated": {"reason": "lies", "until": "2026-05-04T10:20:40Z"},
        },
        "supernodes": [
            {"address": "h:7400", "state": "up", "reason": None},
            {"address": "i:7400", "state": "down", "reason": "refused"},
        ],
        "origins": {
            "isolated": [
                {
                    "origin": "http://o",
                    "reason": "refused",
                    "since": "2026-05-04T10:20:35Z",
                    "until": "2026-05-04T10:20:40Z",
                }
            ]
        },
        "store": {
            "directory": "/var/cache/flyfs/x",
            "used_bytes": 11,
            "limit_bytes": None,
            "free_bytes": 12,
            "blobs": 13,
            "read_through": True,
            "damaged": 14,
        },
        "limit": {"receive_bytes_per_s": 20_000_000, "send_bytes_per_s": None},
        "demand_latency_ms": {"p50": 1.235, "p99": 14.8},
        "loop_lag_ms": {"p99": 0.988},
        "open_files": 3,
    }


def test_moments_are_told_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
