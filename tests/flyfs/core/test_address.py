import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyfs.core.address import Address, SrvName, is_host_name, parse_address, parse_supernode, require_protection
from flyfs.core.errors import ConfigError


@pytest.mark.parametrize(("text", "address"), [
    ("127.0.0.1:7400", Address("127.0.0.1", 7400)),
    ("host.example:0", Address("host.example", 0)),
    ("[::1]:65535", Address("::1", 65535)),
    ("[0::0:1]:1", Address("::1", 1)),
    ("Host.:80", Address("Host.", 80)),
])  # fmt: skip
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", [
    "", "host", ":80", "host:", "host:x", "host:-1", "host:65536", "host:\u0661", "::1:80", "[::1]", "[x]:80", "a b:80",
    "host:" + "9" * 5000,
])  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not HOST:PORT|not a host|Exceeds|does not appear"):
        parse_address(text)


@pytest.mark.parametrize(("text", "owner"), [
    ("srv://swarm.example.org", "_flyfs._tcp.swarm.example.org"),
    ("srv://Swarm.Example.ORG.", "_flyfs._tcp.swarm.example.org"),
    ("srv://_fly._tcp.example.org", "_fly._tcp.example.org"),
])  # fmt: skip
def test_a_name_in_the_dns_stands_for_supernodes(text: str, owner: str) -> None:
    name = parse_supernode(text)
    assert isinstance(name, SrvName)
    assert name.owner == owner
    assert parse_supernode(str(name)) == name


def test_a_supernode_is_an_address_or_a_name_in_the_dns() -> None:
    assert parse_supernode("10.0.0.1:7400") == Address("10.0.0.1", 7400)
    for text in ("srv://", "srv://a b", "srv://host:80", "srv://-x", "srv:/x", "host"):
        with pytest.raises(ValueError, match="not a host name|not HOST:PORT|not a host"):
            parse_supernode(text)


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@given(st.ip_addresses(), st.integers(0, 65535))
def test_any_ip_address_comes_back(ip: object, port: int) -> None:
    address = Address(str(ip), port)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.255.0.9", True), ("::1", True), ("localhost", True), ("LOCALHOST", True),
    ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example", False), ("host", False),
])  # fmt: skip
def test_loopback_is_what_only_this_host_reaches(host: str, loopback: bool) -> None:
    assert Address(host, 1).loopback is loopback


def test_host_names_by_their_form() -> None:
    assert is_host_name("a-b.c_d")
    assert not is_host_name("-a")
    assert not is_host_name("a" * 64)
    assert not is_host_name("ü")


def test_listening_beyond_loopback_needs_protection() -> None:
    require_protection(Address("127.0.0.1", 1), insecure=False, source="--listen")
    require_protection(Address("0.0.0.0", 1), insecure=True, source="--listen")
    with pytest.raises(ConfigError) as caught:
        require_protection(Address("0.0.0.0", 1), insecure=False, source="--listen")
    assert caught.value.message == (
        "--listen: 0.0.0.0:1 can be reached from other hosts, which needs a token, TLS or --insecure;"
        " add --insecure where the network is trusted, or listen on 127.0.0.1"
    )
