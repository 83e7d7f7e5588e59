from ipaddress import ip_address

import pytest

from flyfs.origin.address_guard import AddressKind, AddressPolicy, AllowedOrigins, kind_of, literal_address

EMBEDDED = AddressPolicy(own_host=True, private=True)
TRUSTED = AddressPolicy(private=True)
OPEN = AddressPolicy()


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("93.184.216.34", "public"), ("2606:2800:220:1::1", "public"),
        ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"),
        ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("::", "unspecified"),
        ("169.254.1.1", "link-local"), ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"),
        ("169.254.169.254", "cloud metadata"), ("169.254.170.2", "cloud metadata"), ("100.100.100.200", "cloud metadata"),
        ("168.63.129.16", "cloud metadata"), ("192.0.0.192", "cloud metadata"), ("fd00:ec2::254", "cloud metadata"),
        ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"), ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"), ("240.0.0.1", "reserved"), ("192.0.0.1", "reserved"),
        ("10.0.0.1", "private"), ("172.16.0.1", "private"), ("172.31.255.255", "private"), ("192.168.1.1", "private"),
        ("100.64.0.1", "private"), ("fc00::1", "private"), ("fd12::1", "private"), ("fec0::1", "private"),
        ("172.32.0.1", "public"),
        ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.1.1.1", "private"), ("::ffff:93.184.216.34", "public"),
        ("::127.0.0.1", "loopback"),
        ("64:ff9b::169.254.169.254", "cloud metadata"), ("2002:7f00:0001::", "loopback"), ("2002:0a00:0001::", "private"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "loopback"),
    ],
)  # fmt: skip
def test_every_address_has_the_kind_of_what_it_leads_to(address: str, kind: str) -> None:
    assert kind_of(ip_address(address)) == AddressKind(kind)


def refusal(policy: AddressPolicy, address: str, host: str = "origin.example", *, own: bool = False) -> str | None:
    return policy.refusal(host, ip_address(address), own=own)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "169.254.169.254", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "240.0.0.1", "fd00:ec2::254"]
)
@pytest.mark.parametrize("policy", [EMBEDDED, TRUSTED, OPEN])
def test_some_addresses_are_always_refused(policy: AddressPolicy, address: str) -> None:
    assert refusal(policy, address) is not None


@pytest.mark.parametrize(
    ("address", "own", "embedded", "trusted", "opened"),
    [
        ("93.184.216.34", False, True, True, True),
        ("93.184.216.34", True, True, False, False),
        ("127.0.0.1", True, True, False, False),
        ("::1", False, True, False, False),
        ("10.0.0.1", False, True, True, False),
        ("10.0.0.1", True, True, False, False),
        ("192.168.1.1", False, True, True, False),
    ],
)
def test_others_depend_on_who_asks(address: str, own: bool, embedded: bool, trusted: bool, opened: bool) -> None:
    assert [refusal(policy, address, own=own) is None for policy in (EMBEDDED, TRUSTED, OPEN)] == [embedded, trusted, opened]


def test_a_refusal_names_the_option_that_would_allow_it() -> None:
    assert refusal(OPEN, "10.1.2.3") == (
        "refused: origin.example is at 10.1.2.3, a private address; --allow-origin origin.example would allow it"
    )
    assert (
        refusal(OPEN, "10.1.2.3", "10.1.2.3") == "refused: 10.1.2.3 is a private address; --allow-origin 10.1.2.3 would allow it"
    )


@pytest.mark.parametrize(
    "allowed", ["169.254.169.254", "169.254.0.0/16", "169.254.7.7/16", "origin.example", "Origin.Example.", "0.0.0.0/0"]
)
def test_what_the_operator_names_is_allowed_even_if_it_is_always_refused(allowed: str) -> None:
    policy = AddressPolicy(allowed=AllowedOrigins.parse([allowed]))

    assert refusal(policy, "169.254.169.254") is None
    assert refusal(policy, "::ffff:169.254.169.254") is None
    assert refusal(policy, "ff02::1", "other.example") is not None


def test_an_allowed_address_in_brackets_is_one() -> None:
    assert refusal(AddressPolicy(allowed=AllowedOrigins.parse(["fe80::/10", "[::1]"])), "::1", "h") is None


@pytest.mark.parametrize("text", ["10.0.0.0/33", "host:80", "ho st", "", "a/b"])
def test_what_is_neither_network_nor_name_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        AllowedOrigins.parse([text])


def test_a_literal_address_is_told_from_a_name() -> None:
    assert literal_address("10.0.0.1") == ip_address("10.0.0.1")
    assert literal_address("example.org") is None
