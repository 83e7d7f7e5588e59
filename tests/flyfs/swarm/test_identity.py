from flyfs.swarm.identity import Identity
from flyfs.wire.messages import MAJOR, MINOR, Hello, Welcome
from tests.support.builders import a_hello, a_peer_id


def test_a_peer_greets_and_answers_with_who_it_is() -> None:
    anne = Identity(peer_id=a_peer_id("anne"), version="1.2", address="10.0.0.5:7402", location="eu|a")

    assert anne.hello() == Hello(
        major=MAJOR,
        minor=MINOR,
        peer_id=a_peer_id("anne"),
        role="peer",
        version="1.2",
        address="10.0.0.5:7402",
        location="eu|a",
    )
    assert anne.welcome(a_hello("bert")) == Welcome(
        major=MAJOR, minor=MINOR, peer_id=a_peer_id("anne"), role="peer", version="1.2", key=b""
    )
