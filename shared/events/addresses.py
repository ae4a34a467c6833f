"""No way inside: which URLs a customer may name, and which addresses we connect to on his behalf.

A URL is checked when it is given, so that its owner learns at once. What counts is the second check, of each address
at the moment it is connected to: whatever a name resolves to by then, and however an address is written.
"""

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from shared.platform.errors import InvalidRequest

URL_LENGTH_MAX: Final = 2_000

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE_V4: Final = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers; some clouds' metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host, from within
        "169.254.0.0/16",  # link-local; most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
_PUBLIC_V6: Final = ipaddress.ip_network("2000::/3")
"""All that is routed at all. Outside of it: loopback, link-local, private, multicast, IPv4 in IPv6, NAT64."""
_PRIVATE_V6: Final = [
    ipaddress.ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, which wraps IPv4, and others
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps IPv4
        "3fff::/20",  # documentation
    )
]


class AddressNotAllowed(OSError):
    """We do not connect to this address for a customer. The sentence does not say which address it is."""

    def __init__(self) -> None:
        super().__init__("the host's address is not a public one")


def is_public_address(address: IpAddress) -> bool:
    """Whether an address is somebody's on the internet: no part of our own network, nor a way to it."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _PRIVATE_V4)
    if address.scope_id is not None or address not in _PUBLIC_V6:
        return False
    # A host part of 0:5efe:a.b.c.d is ISATAP, which wraps IPv4.
    isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE
    return not isatap and not any(address in network for network in _PRIVATE_V6)


def check_address(text: str, *, encrypted: bool, allow_loopback: bool) -> None:
    """Checks an address that is about to be connected to; without encryption only the machine itself will do.

    Raises:
        NotAllowed: it is not one that a customer may name.

    """
    address = ipaddress.ip_address(text)
    if allow_loopback and address.is_loopback and getattr(address, "ipv4_mapped", None) is None:
        return
    if not encrypted or not is_public_address(address):
        raise AddressNotAllowed


def parse_ip_address(host: str) -> IpAddress | None:
    """The address that a host is, in whichever form: decimal, hexadecimal and octal ones too; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def check_url(url: str, *, allow_loopback: bool) -> None:
    """Checks a URL that a customer gives.

    Raises:
        Invalid: it can't be called, or may not be; the sentence says why.

    """
    if len(url) > URL_LENGTH_MAX:
        raise _wrong(f"url may have at most {URL_LENGTH_MAX:,} characters")
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' "<>\\^`{|}'):
        raise _wrong(
            "url must be written in ASCII, without spaces; others are percent-encoded, or punycode in the host"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _wrong("url is not a URL") from None
    if parts.username is not None or parts.password is not None:
        raise _wrong("url must not contain credentials: our signature says who calls")
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise _wrong("url must look like https://example.com/webhooks")
    if parts.fragment:
        raise _wrong("url must not have a fragment: it would not be sent")
    address = parse_ip_address(host)
    here = host == "localhost" or (address is not None and address.is_loopback and address.compressed == host)
    if allow_loopback and here:
        return
    if parts.scheme != "https":
        raise _wrong("url must be https: an event must not cross the network unencrypted")
    if address is not None and (not is_public_address(address) or address.compressed != host):
        raise _wrong("url must name a host on the internet, by a public address or better by its name")
    if address is None and not _is_name(host):
        raise _wrong("url must name a host on the internet, as in https://example.com/webhooks")


def _is_name(host: str) -> bool:
    """Whether a host's name can be one on the internet; a last label of digits belongs to an address."""
    labels = host.removesuffix(".").split(".")
    local = labels[-1] in ("localhost", "local", "internal", "localdomain", "lan", "home", "onion", "arpa")
    fine = all(0 < len(label) <= 63 and label.strip("-") == label for label in labels)
    letters = all(character.isalnum() or character in "-_." for character in host)
    return len(labels) > 1 and fine and letters and not local and not labels[-1].isdigit()


def _wrong(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, field="url")
