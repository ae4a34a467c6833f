"""Customers can name no internal address, in any notation, and register no URL with one."""

import ipaddress

import pytest

from shared.events.addresses import AddressNotAllowed, check_address, check_url, is_public_address, parse_ip_address
from shared.platform.errors import InvalidRequest

PUBLIC = ["93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001:81b::200e"]
INTERNAL = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback, the whole of it",
    "0.0.0.0": "this host",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "169.254.169.254": "link-local, a cloud's metadata",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "another cloud's metadata",
    "168.63.129.16": "Azure's host",
    "192.0.0.192": "Oracle's metadata",
    "192.0.2.1": "documentation",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "198.18.0.1": "benchmarks",
    "192.88.99.1": "6to4 relay",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "this host",
    "::1": "loopback",
    "fe80::1": "link-local",
    "fe80::1%1": "link-local with its interface",
    "fc00::1": "private",
    "fd00:ec2::254": "a cloud's metadata",
    "fec0::1": "site-local, deprecated",
    "ff02::1": "multicast",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "100::1": "discarded",
    "::ffff:127.0.0.1": "IPv4 in IPv6",
    "::ffff:8.8.8.8": "IPv4 in IPv6, unneeded even if public",
    "::ffff:7f00:1": "the same in hexadecimal",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::127.0.0.1": "NAT64",
    "64:ff9b::a9fe:a9fe": "NAT64 to a cloud's metadata",
    "64:ff9b:1::1": "NAT64, local",
    "2002:7f00:1::": "6to4 of loopback",
    "2002:a9fe:a9fe::1": "6to4 of a cloud's metadata",
    "2001:0:53aa:64c:0:fbff:f5ff:fffe": "Teredo",
    "2606:4700::5efe:127.0.0.1": "ISATAP",
    "2606:4700::200:5efe:127.0.0.1": "ISATAP, universal",
    "4000::1": "unallocated",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_public_address_is_allowed(text: str) -> None:
    assert is_public_address(ipaddress.ip_address(text))
    check_address(text, encrypted=True, allow_loopback=False)


@pytest.mark.parametrize("text", INTERNAL)
def test_internal_address_is_refused(text: str) -> None:
    for loopback in (False, text not in ("127.0.0.1", "127.255.255.254", "::1")):
        with pytest.raises(AddressNotAllowed) as refused:
            check_address(text, encrypted=True, allow_loopback=loopback)
        assert text not in str(refused.value), "the message reveals what a name resolves to internally"


def test_loopback_is_allowed_in_development_and_is_the_only_address_allowed_without_encryption() -> None:
    check_address("127.0.0.1", encrypted=False, allow_loopback=True)
    check_address("::1", encrypted=False, allow_loopback=True)
    with pytest.raises(AddressNotAllowed):
        check_address("8.8.8.8", encrypted=False, allow_loopback=True)
    with pytest.raises(AddressNotAllowed):
        check_address("::ffff:127.0.0.1", encrypted=True, allow_loopback=True)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "017700000001"])
def test_other_notations_of_an_address_are_parsed(host: str) -> None:
    assert parse_ip_address(host) == ipaddress.ip_address("127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/webhooks",
        "https://hooks.example.com:8443/a/b?token=x",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
        "https://example.com./",
    ],
)
def test_public_url_is_accepted(url: str) -> None:
    check_url(url, allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "https://",
        "https:///path",
        "https://user:password@example.com/",
        "https://user@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/a b",
        "https://example.com/\r\nHost: x",
        "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example/",
        "https://\N{CIRCLED DIGIT ONE}27.0.0.1/",
        "https://localhost/",
        "https://localhost./",
        "https://api.localhost/",
        "https://db.internal/",
        "https://printer.local/",
        "https://gateway/",
        "https://example..com/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://134744072/",  # 8.8.8.8 in decimal notation
        "https://1.2.3.999/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fe80::1%25eth0]/",
        "https://example.com/" + "a" * 2_000,
    ],
)
def test_malformed_or_internal_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_url(url, allow_loopback=False)
    assert refused.value.details == {"field": "url"}


def test_loopback_url_is_accepted_in_development() -> None:
    for url in ("http://localhost:3000/hook", "http://127.0.0.1:3000/", "http://[::1]:3000/", "https://localhost/"):
        check_url(url, allow_loopback=True)
    for url in ("http://10.0.0.1/", "http://example.com/", "http://0x7f.1/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(InvalidRequest):
            check_url(url, allow_loopback=True)
