"""The origin that other tests believe in."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import LoggedRequest, NginxOrigin, RequestLog


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[NginxOrigin]:
    (tmp_path / "a b#%?é.bin").write_bytes(bytes(range(256)) * 4096)
    with NginxOrigin.serving(tmp_path) as running:
        yield running


def a_request(*, asked: str = "", status: int = 206, sent_bytes: int = 0, method: str = "GET") -> LoggedRequest:
    return LoggedRequest(
        method=method, path="/f", query="", asked=asked, status=status, sent_bytes=sent_bytes, agent="", authorization=""
    )


def test_it_serves_ranges_and_writes_down_what_it_sent(origin: NginxOrigin) -> None:
    answer = httpx.get(origin.url("a b#%?é.bin"), headers={"Range": "bytes=256-511"}, trust_env=False)

    (request,) = origin.log()
    assert answer.content == bytes(range(256))
    assert (request.path, request.asked, request.status, request.sent_range) == ("/a b#%?é.bin", "bytes=256-511", 206, (256, 512))


def test_a_listing_names_every_file(origin: NginxOrigin) -> None:
    assert "a%20b%23%25%3F" in httpx.get(origin.url(), trust_env=False).text


def test_after_a_stop_nobody_answers_and_after_a_start_the_same_port_does(origin: NginxOrigin) -> None:
    httpx.head(origin.url("a b#%?é.bin"), trust_env=False)
    port = origin.port

    origin.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    origin.start()

    assert origin.port == port
    assert [one.method for one in origin.log()] == ["HEAD"]


def test_a_paused_origin_accepts_and_says_nothing(origin: NginxOrigin) -> None:
    origin.pause()
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(origin.url(), timeout=0.05, trust_env=False)
    origin.resume()

    assert httpx.get(origin.url(), trust_env=False).status_code == 200


def test_a_bad_directive_is_reported_with_the_words_of_nginx(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="unknown directive"), NginxOrigin.serving(tmp_path, directives="nonsense on;"):
        pass


def test_bytes_sent_twice_are_seen() -> None:
    log = RequestLog(
        (
            a_request(asked="bytes=0-9", sent_bytes=10),
            a_request(asked="bytes=10-", sent_bytes=90),
            a_request(method="HEAD", status=200),
            a_request(status=404, sent_bytes=100),
        )
    )
    again = RequestLog((*log, a_request(asked="bytes=99-99", sent_bytes=1)))

    assert log.most_often_sent("/f") == 1
    assert again.most_often_sent("/f") == 2
    assert again.since(log).sent_bytes == 1
    assert log.most_often_sent("/g") == 0
