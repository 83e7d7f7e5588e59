import json
import os
import signal
from typing import Any

from flyfs.cli.status import describe
from flyfs.control.client import find_daemons
from tests.flyfs.cli.conftest import Host


def mount(host: Host, name: str) -> str:
    place = str(host.mountpoint(name))
    assert host.run("mount", place, "--cache", str(host.directory / f"cache of {name}")) == (0, "", "")
    return place


def test_without_a_mount_there_is_nothing_to_tell(host: Host) -> None:
    assert host.run("status") == (
        1,
        "",
        "flyfs: status: no mount of this host can be asked; start one with flyfs mount, or ask as the user who did\n",
    )
    place = host.mountpoint()
    assert host.run("status", str(place)) == (
        1,
        "",
        f"flyfs: status: {place} is not a mount of flyfs; flyfs status lists those of this host\n",
    )


def test_one_mount_is_told_of_in_full(host: Host) -> None:
    place = mount(host, "mnt")
    (daemon,) = find_daemons([host.runtime])

    status, out, err = host.run("status")
    assert (status, err) == (0, "")
    assert out == (
        f"mountpoint  {place} (process {daemon.pid}, since 1970-01-01T00:00:00Z, version 0.1.0)\n"
        "received    1.0 KiB from origin, 0 B from supernode, 3.0 MiB from peers\n"
        "read        0 B from the store, 0 B served to others\n"
        "pieces      0 verified, 0 rejected\n"
        "store       2.0 KiB of 4.0 KiB in 1 blobs, 1.0 GiB free\n"
        "latency     1 ms median, 2 ms p99\n"
        "loop lag    0.5 ms p99\n"
        "open files  3\n"
        "peers       2 known, 1 isolated\n"
        "limit       12.5MB/s to receive, no limit to send, for the whole host\n"
        "isolated    10.0.0.9:7402 until 1970-01-01T00:01:00Z: corrupt pieces\n"
        "supernode   127.0.0.1:7400 down (refused)\n"
        "notice      others do not reach this mount at 10.0.0.5:7402, so it serves nobody: timed out\n"
        "notice      the store has no room: what is read now is not kept\n"
        "notice      2 pieces were damaged on this disk and dropped; look at all of them with: flyfs cache verify\n"
    )
    assert host.run("status", "mnt") == (0, out, "")
    assert host.run("umount", place)[0] == 0


def test_json_is_the_document_itself(host: Host) -> None:
    place = mount(host, "mnt")

    for arguments in (["status", "--json"], ["status", place, "--json"]):
        status, out, _ = host.run(*arguments)
        document = json.loads(out)
        assert status == 0
        assert (document["mountpoint"], document["bytes"]["peers"]) == (place, 3 * 2**20)
    assert host.run("umount", place)[0] == 0


def test_several_mounts_are_listed_and_a_silent_one_is_a_failure(host: Host) -> None:
    places = [mount(host, "a"), mount(host, "b")]
    first, second = find_daemons([host.runtime])

    status, out, err = host.run("status")
    assert (status, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["MOUNTPOINT", "PID", "ORIGIN", "SUPERNODE", "PEERS", "STORE", "OPEN", "SUPERNODES"]
    assert [row.split()[:2] for row in rows] == [[places[0], str(first.pid)], [places[1], str(second.pid)]]
    assert [json.loads(line)["mountpoint"] for line in host.run("status", "--json")[1].splitlines()] == places

    os.kill(second.pid, signal.SIGSTOP)
    try:
        status, out, err = host.run("status", "--json")
    finally:
        os.kill(second.pid, signal.SIGCONT)
    assert status == 1
    assert [json.loads(line)["mountpoint"] for line in out.splitlines()] == places[:1]
    assert err.startswith("flyfs: status: ")
    assert f"the daemon {second.pid} does not answer: timed out" in err
    for place in places:
        assert host.run("umount", place)[0] == 0


EMPTY: dict[str, Any] = {
    "version": "1",
    "mountpoint": "/m",
    "started_at": "s",
    "pid": 1,
    "bytes": dict.fromkeys(("origin", "supernode", "peers", "store", "served"), 0),
    "pieces": {"verified": 0, "rejected": 0},
    "peers": {"known": 0, "isolated": []},
    "supernodes": [{"address": "h:1", "state": "up", "reason": None}],
    "store": {"used_bytes": 0, "limit_bytes": None, "free_bytes": 1, "blobs": 0, "read_through": False, "damaged": 0},
    "demand_latency_ms": {"p50": 0, "p99": 0},
    "loop_lag_ms": {"p99": 0},
    "open_files": 0,
}


def test_a_store_without_a_limit_and_a_healthy_supernode_are_told() -> None:
    document = EMPTY

    assert "store       0 B in 0 blobs, 1 B free\n" in describe(document)
    assert describe(document).endswith("supernode   h:1 up\n")


def test_a_mount_to_which_nobody_is_sent_says_why() -> None:
    document = {
        **EMPTY,
        "advertised": {"reachable": True, "isolated": {"reason": "sends wrong bytes", "until": "2026-05-04T10:20:40Z"}},
    }

    told = "notice      no other mount is sent here until 2026-05-04T10:20:40Z, because this one sends wrong bytes\n"
    assert describe(document).endswith(told)
