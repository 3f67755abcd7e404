"""Who stands behind a network address, as far as limits are concerned."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4_096)
def source(address: str) -> str:
    """The address itself, or of IPv6 its network of 64 bits: one household has as many addresses in it as it likes.
    An IPv4 address in IPv6 clothes is the IPv4 address; what is no address is taken as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
