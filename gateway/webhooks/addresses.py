"""Tells public addresses from private ones, for webhooks.  [S]"""

from __future__ import annotations

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 destination."""


def is_public(address: str) -> bool:
    """Whether an address, as `getaddrinfo` returns it, is on the public internet.

    For an IPv6 address that contains an IPv4 one (mapped, 6to4, Teredo, NAT64), the IPv4 address decides.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        within = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            within = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if within is not None:
            return is_public(str(within))
    return ip.is_global and not ip.is_multicast
