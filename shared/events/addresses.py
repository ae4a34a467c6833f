"""Protection against server-side request forgery: the URLs customers may register, the addresses we call.

Checking a registered URL only reports mistakes early. The protection is the check of each address when it is connected
to, whatever the name resolves to by then.
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
"""All globally routed addresses. Not in it: loopback, link-local, private, multicast, IPv4 in IPv6, NAT64."""
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
    """The address is not public. Customers see the message, so it does not contain the address."""

    def __init__(self) -> None:
        super().__init__("the host's address is not public")


def is_public_address(address: IpAddress) -> bool:
    """Whether the address is on the public internet, and no tunnel into an internal network."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _PRIVATE_V4)
    if address.scope_id is not None or address not in _PUBLIC_V6:
        return False
    # An interface id of 0:5efe:a.b.c.d is ISATAP, a tunnel for IPv4.
    isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE
    return not isatap and not any(address in network for network in _PRIVATE_V6)


def check_address(text: str, *, encrypted: bool, allow_loopback: bool) -> None:
    """Check an address before connecting. Without encryption only loopback is allowed, if enabled.

    Raises:
        AddressNotAllowed: the address is not allowed.
    """
    address = ipaddress.ip_address(text)
    if allow_loopback and address.is_loopback and getattr(address, "ipv4_mapped", None) is None:
        return
    if not encrypted or not is_public_address(address):
        raise AddressNotAllowed


def parse_ip_address(host: str) -> IpAddress | None:
    """The address in any notation, including decimal, hexadecimal and octal; None for a host name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def check_url(url: str, *, allow_loopback: bool) -> None:
    """Check a URL that a customer registers.

    Raises:
        InvalidRequest: the URL is malformed or not allowed.
    """
    if len(url) > URL_LENGTH_MAX:
        raise _invalid_url(f"`url` can have at most {URL_LENGTH_MAX:,} characters")
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' "<>\\^`{|}'):
        raise _invalid_url(
            "`url` must be ASCII without spaces. Use punycode for the host, and percent-encode other characters."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid_url("`url` is not a valid URL") from None
    if parts.username is not None or parts.password is not None:
        raise _invalid_url("`url` must not contain credentials. Verify the signature of the calls instead.")
    if parts.scheme not in ("https", "http") or not host or port == 0:
        raise _invalid_url("`url` must be an absolute URL such as https://example.com/webhooks")
    if parts.fragment:
        raise _invalid_url("`url` must not have a fragment, as it would not be sent")
    address = parse_ip_address(host)
    is_loopback = host == "localhost" or (address is not None and address.is_loopback and address.compressed == host)
    if allow_loopback and is_loopback:
        return
    if parts.scheme != "https":
        raise _invalid_url("`url` must use https")
    if address is not None and (not is_public_address(address) or address.compressed != host):
        raise _invalid_url("`url` must have a public host: a host name, or a public IP address in standard notation")
    if address is None and not _is_public_name(host):
        raise _invalid_url("`url` must have a public host name, as in https://example.com/webhooks")


def _is_public_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    is_local = labels[-1] in ("localhost", "local", "internal", "localdomain", "lan", "home", "onion", "arpa")
    has_valid_labels = all(0 < len(label) <= 63 and label.strip("-") == label for label in labels)
    has_valid_characters = all(character.isalnum() or character in "-_." for character in host)
    return len(labels) > 1 and has_valid_labels and has_valid_characters and not is_local and not labels[-1].isdigit()


def _invalid_url(message: str) -> InvalidRequest:
    return InvalidRequest(message, field="url")
