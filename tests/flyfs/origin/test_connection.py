import datetime
import ipaddress
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flyfs.core.errors import ConfigError, Denied, Unavailable
from flyfs.core.grid import MIB, ByteRange
from flyfs.core.urls import parse_url
from flyfs.origin.address_guard import AddressPolicy, AllowedOrigins
from flyfs.origin.connection import _is_own
from flyfs.origin.transport import tls_context
from tests.flyfs.origin.origins import Place, a_client, a_place
from tests.support.hostile_origin import HostileOrigin, Resource, pattern


class Names(trio.abc.HostnameResolver):
    """Resolves what a test says, and counts."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *_: Any) -> Any:
        self.asked += 1
        addresses = self.answers.get(host.decode().partition(".")[0])
        if addresses is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise AssertionError("nobody asks for names")


async def test_loopback_is_refused_unless_allowed_and_the_refusal_names_the_option() -> None:
    async with a_place() as place, a_client(policy=AddressPolicy(private=True)) as stranger:
        place.put("/f", b"x")
        with pytest.raises(Denied, match=r"127\.0\.0\.1 is a loopback address; --allow-origin 127\.0\.0\.1 would allow it"):
            await stranger.stat(parse_url(place.origin.url("/f")), {})
        assert place.origin.requests == []


async def test_a_name_is_judged_by_its_addresses() -> None:
    trio.socket.set_custom_hostname_resolver(Names(metadata=["169.254.169.254"], home=["127.0.0.1"]))
    async with a_client(policy=AddressPolicy(private=True)) as client:
        for name in ("metadata", "home"):
            with pytest.raises(Denied, match=f"{name}.test is at .*; --allow-origin {name}.test would allow it"):
                await client.stat(parse_url(f"http://{name}.test:1/f"), {})


async def test_a_name_is_resolved_once_and_only_allowed_addresses_are_connected_to() -> None:
    names = Names(mixed=["169.254.169.254", "127.0.0.1"])
    trio.socket.set_custom_hostname_resolver(names)
    async with a_place() as place:
        place.put("/f", b"hello")
        url = parse_url(f"http://mixed.test:{place.origin.port}/f")

        with trio.fail_after(1):
            head = await place.client.stat(url, {})

        assert head.size == 5  # type: ignore[union-attr]
        assert names.asked == 1
        assert place.origin.requests[0].fields["host"] == f"mixed.test:{place.origin.port}"


async def test_an_address_that_refuses_leaves_the_others_to_try() -> None:
    trio.socket.set_custom_hostname_resolver(Names(two=["127.0.0.2", "127.0.0.1"]))
    async with a_place() as place:
        place.put("/f", b"hello")

        await place.client.stat(parse_url(f"http://two.test:{place.origin.port}/f"), {})


async def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    trio.socket.set_custom_hostname_resolver(Names())
    async with a_client() as client:
        with pytest.raises(Unavailable, match=r"nowhere\.test cannot be resolved \(Name or service not known\)"):
            await client.stat(parse_url("http://nowhere.test/f"), {})


async def test_each_hop_of_a_redirect_is_judged() -> None:
    policy = AddressPolicy(allowed=AllowedOrigins.parse(["127.0.0.1"]))
    async with a_place(policy=policy) as place:
        place.put("/f", location="http://169.254.169.254/latest/meta-data/")
        place.put("/g", location=f"http://127.0.0.2:{place.origin.port}/h")

        with pytest.raises(Denied, match="cloud metadata"):
            await place.stat("/f")
        with pytest.raises(Denied, match=r"127\.0\.0\.2 is a loopback address"):
            await place.read("/g", (0, 1))


def test_own_addresses_are_known_without_sending() -> None:
    assert _is_own(ipaddress.ip_address("127.0.0.1"))
    assert not _is_own(ipaddress.ip_address("192.0.2.1"))
    assert not _is_own(ipaddress.ip_address("2001:db8::1"))


async def test_connecting_takes_at_most_the_connect_timeout() -> None:
    with socket.socket() as full:  # a listener whose queue is full answers nobody
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            async with a_client(connect_timeout_s=0.05) as client:
                with trio.fail_after(3), pytest.raises(Unavailable, match="too slow|does not answer"):
                    await client.stat(parse_url(f"http://127.0.0.1:{full.getsockname()[1]}/f"), {})


def a_certificate(directory: Path, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's context with a fresh self-signed certificate, and the file that makes it trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, private = directory / "ca.pem", directory / "key.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, private)
    return context, authority


@pytest.mark.parametrize("size", [1000, 5 * MIB])
async def test_tls_brings_the_same_bytes_from_a_verified_origin_and_keeps_its_connection(tmp_path: Path, size: int) -> None:
    context, authority = a_certificate(tmp_path)
    content = pattern(size)
    async with HostileOrigin.serving(tls=context) as origin, a_client(origin_ca=authority, stall_timeout_s=5) as client:
        place = Place(origin, client)
        origin.put("/f", Resource(content=content, etag='"v1"', early_hints=True))

        assert (await place.head("/f")).size == size
        assert await place.read("/f", expect=await place.head("/f")) == content
        assert await place.read("/f", (10, 500)) == content[10:500]

        assert place.connections == 1


async def test_a_certificate_that_nobody_vouches_for_is_unavailable(tmp_path: Path) -> None:
    context, _ = a_certificate(tmp_path)
    async with HostileOrigin.serving(tls=context) as origin, a_client() as client:
        with pytest.raises(Unavailable, match="TLS: .*certificate verify failed"):
            await client.stat(parse_url(origin.url("/f")), {})


async def test_a_certificate_for_another_name_is_unavailable(tmp_path: Path) -> None:
    context, authority = a_certificate(tmp_path, "127.0.0.9")
    async with HostileOrigin.serving(tls=context) as origin, a_client(origin_ca=authority) as client:
        with pytest.raises(Unavailable, match="TLS: .*certificate"):
            await client.stat(parse_url(origin.url("/f")), {})


async def test_an_origin_that_speaks_no_tls_or_hangs_in_it_is_unavailable() -> None:
    async def answer_plainly(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery, a_client() as client:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer_plainly, [listener])
        with pytest.raises(Unavailable, match="TLS"):
            await client.stat(parse_url(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/f"), {})
        nursery.cancel_scope.cancel()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        async with a_client(connect_timeout_s=0.05) as client:
            with pytest.raises(Unavailable, match="handshake takes too long"):
                await client.stat(parse_url(f"https://127.0.0.1:{silent.getsockname()[1]}/f"), {})


def test_a_file_without_certificates_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match="--origin-ca .*not a file of PEM certificates"):
            tls_context(tmp_path / name)


async def test_a_connection_that_the_origin_closed_while_a_request_was_on_its_way_is_replaced() -> None:
    answered = 0

    async def answer_once(stream: trio.SocketStream) -> None:
        nonlocal answered
        answered += 1
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await stream.receive_some()  # takes the next request, and closes without a word
        await stream.aclose()

    async with trio.open_nursery() as nursery, a_client() as client:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer_once, [listener])
        url = parse_url(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/f")
        for _ in range(3):
            async with client.read(url, None, {}, None) as body:
                assert await body.receive_into(memoryview(bytearray(10))) == 5
        nursery.cancel_scope.cancel()
    assert answered == 3


async def test_heads_in_small_pieces_with_bare_line_feeds_are_read() -> None:
    async def drip(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        for byte in b"HTTP/1.1 103 Early Hints\n\nHTTP/1.1 206 Partial\nContent-Length: 2\nContent-Range: bytes 0-1/9\n\nab":
            await stream.send_all(bytes([byte]))
            await trio.lowlevel.checkpoint()
        await stream.aclose()

    async with trio.open_nursery() as nursery, a_client() as client:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, drip, [listener])
        url = parse_url(f"http://127.0.0.1:{listener.socket.getsockname()[1]}/f")
        buffer = bytearray(2)
        async with client.read(url, ByteRange(0, 2), {}, None) as body:
            assert await body.receive_into(memoryview(buffer)) == 2
        assert buffer == b"ab"
        nursery.cancel_scope.cancel()
