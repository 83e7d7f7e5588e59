"""The cards that the benchmark of a crowd believes in."""

import threading
import time
from pathlib import Path

import pytest

from tests.support.shaped_network import a_shaped_network

pytestmark = pytest.mark.fuse  # needs root, as mounts do

_BYTES = 1_000_000


def test_a_card_sends_no_faster_than_its_rate_and_counts_what_it_sent_and_nothing_stays_behind() -> None:
    with a_shaped_network({"server": 40, "reader": 20}) as hosts:
        server, reader = hosts["server"], hosts["reader"]
        names = [host.namespace for host in hosts.values()]
        with server.tcp_socket() as listener, reader.tcp_socket() as receiving:
            listener.settimeout(10)
            receiving.settimeout(10)
            listener.bind((server.address, 0))
            listener.listen()
            receiving.connect(listener.getsockname())
            sending, _ = listener.accept()
            with sending:
                start_s = time.monotonic()
                sender = threading.Thread(target=sending.sendall, args=(bytes(_BYTES),))
                sender.start()
                left = _BYTES
                while left:
                    left -= len(receiving.recv(left))
                seconds = time.monotonic() - start_s
                sender.join()

        assert seconds > (_BYTES - 64_000) * 8 / 20e6  # the bucket's burst comes at once
        assert _BYTES < server.sent_bytes() < 1.2 * _BYTES

    assert not [name for name in names if Path("/run/netns", name).exists()]
