"""A mount in a network of its own, which says an address that nobody outside can reach: it completes, and is named to nobody."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, wait_until
from tests.support.net_namespace import NetNamespace
from tests.support.nginx import NginxOrigin
from tests.support.reader import Reader

pytestmark = [pytest.mark.fuse, pytest.mark.timeout(90)]

SIZE = 12 * 1024 * 1024 + 1


def test_a_mount_behind_nat_completes_and_is_handed_out_to_nobody(
    fleet: Fleet, root: Path, origin: NginxOrigin, reader: Reader
) -> None:
    content = random.Random("nat").randbytes(SIZE)
    digest = hashlib.sha256(content).hexdigest()
    (root / "file").write_bytes(content)
    with NetNamespace.made() as network:
        supernode = fleet.planned_supernode("supernode", "--insecure")
        supernode.address = f"{network.host}:0"
        supernode.start()
        outside = ("--listen", f"{network.host}:0", "--insecure")
        inside = ("--listen", "0.0.0.0:7402", "--advertise", f"{network.nobody}:7402", "--insecure")
        healthy = fleet.mount("healthy", *outside, supernode=supernode)
        natted = fleet.planned_mount("natted", *inside, supernode=supernode)
        natted.enter = network.enter
        natted.start()
        other = fleet.mount("other", *outside, supernode=supernode)

        assert reader.digest(natted.path(origin.authority, "file")) == digest, "it reads although nobody reaches it"
        wait_until(lambda: natted.status()["advertised"]["reachable"] is False, "it is told so")
        told = natted.status()["advertised"]
        assert (told["address"], bool(told["reason"])) == (f"{network.nobody}:7402", True)
        assert supernode.status()["peers"]["unreachable"] == [
            {"peer": natted.status()["peer_id"], "address": told["address"], "reason": told["reason"]}
        ]

        assert reader.digest(healthy.path(origin.authority, "file")) == digest
        assert reader.digest(other.path(origin.authority, "file")) == digest
        assert natted.status()["bytes"]["served"] == 0
        assert other.status()["bytes"]["peers"] > 0, "those who can be reached serve each other"
        for mount in (healthy, other):
            assert network.nobody not in mount.log_text(), "nobody was sent there"
        assert healthy.status()["advertised"] == {
            "address": healthy.status()["advertised"]["address"],
            "reachable": True,
            "reason": None,
            "isolated": None,
        }
        assert origin.log().most_often_sent("/file") == 1

        again = (root / "more").write_bytes(content[::-1])
        assert again == SIZE
        assert reader.digest(healthy.path(origin.authority, "more")) == hashlib.sha256(content[::-1]).hexdigest()
        before = natted.status()["bytes"]["peers"]
        assert reader.digest(natted.path(origin.authority, "more")) == hashlib.sha256(content[::-1]).hexdigest()
        assert natted.status()["bytes"]["peers"] > before, "it is served by others"
        natted.close()
