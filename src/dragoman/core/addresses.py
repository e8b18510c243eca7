"""Which addresses of a network a tenant may have us reach. Pure; knows no name, no resolver and no connection."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Never a service of a tenant, whatever the operator allows: this host itself, links without routing, groups.
_NEVER = tuple(map(IPv4Network, ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))) + tuple(
    # The old and the new way to write IPv4 in IPv6, tunnels, and translators whose inside cannot be judged.
    map(IPv6Network, ("::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "fe80::/10", "fec0::/10", "ff00::/8"))
)
# Where clouds hand their machines credentials, outside of link-local addresses.
_METADATA = {
    ip_address(each) for each in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
}
_LOOPBACK = IPv6Address("::1")
_TRANSLATED = IPv6Network("64:ff9b::/96")
_UNICAST = (IPv4Network("0.0.0.0/0"), IPv6Network("2000::/3"))
# Between a provider and its customers: as private as the others, though Python does not call it so.
_SHARED = (IPv4Network("100.64.0.0/10"),)
_SPECIAL = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"))) + tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20"))
)


def may_reach(address: str, *, allow_private: bool) -> bool:
    """Whether a connection may be made to an IP address: global unicast, or private and loopback too.

    An IPv4 address inside an IPv6 one (mapped, or of NAT64) is judged as what it leads to. What is no address in its
    canonical spelling, or has a zone, may not be reached.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.scope_id:
            return False
        ip = _inside(ip) or ip
    if ip in _METADATA or (ip != _LOOPBACK and _is_within(ip, _NEVER)):
        return False
    if allow_private and (ip.is_private or _is_within(ip, _SHARED)):
        return True
    return ip.is_global and _is_within(ip, _UNICAST) and not _is_within(ip, _SPECIAL)


def _inside(ip: IPv6Address) -> IPv4Address | None:
    if ip in _TRANSLATED:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped


def _is_within(ip: IPv4Address | IPv6Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(ip in network for network in networks)
