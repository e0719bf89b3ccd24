"""Names behind a proxying CDN: whose DNS answers are the edge's and say nothing of the origin behind it. Pure.

Known so far: Cloudflare, by the ranges that it publishes (https://www.cloudflare.com/ips/, fixed for years), by
the target of its partial set-up, and by its ``server`` header.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import TYPE_CHECKING

from cutover.answers import addresses_in, targets_in
from cutover.observations.dns import AuthorityAnswers, ResolverAnswers
from cutover.observations.origin import UserPathSeen
from cutover.plan_values import Member, address_of

if TYPE_CHECKING:
    from cutover.evidence import Evidence

_SUFFIX = ".cdn.cloudflare.net."
_RANGES = tuple(
    ip_network(block)
    for block in (
        "103.21.244.0/22",
        "103.22.200.0/22",
        "103.31.4.0/22",
        "104.16.0.0/13",
        "104.24.0.0/14",
        "108.162.192.0/18",
        "131.0.72.0/22",
        "141.101.64.0/18",
        "162.158.0.0/15",
        "172.64.0.0/13",
        "173.245.48.0/20",
        "188.114.96.0/20",
        "190.93.240.0/20",
        "197.234.240.0/22",
        "198.41.128.0/17",
        "2400:cb00::/32",
        "2405:8100::/32",
        "2405:b500::/32",
        "2606:4700::/32",
        "2803:f800::/32",
        "2a06:98c0::/29",
        "2c0f:f248::/32",
    )
)


def is_cloudflare_address(text: str) -> bool:
    """Tell whether an address is one of Cloudflare's edge."""
    address = address_of(text)
    return address is not None and any(address in block for block in _RANGES if block.version == address.version)


def is_cloudflare_member(member: Member) -> bool:
    """Tell whether a declared member lies at Cloudflare's edge."""
    if member.network is not None:
        return is_cloudflare_address(str(member.network.network_address))
    return member.target is not None and member.target.endswith(_SUFFIX)


def signs_of_cloudflare(evidence: Evidence, name: str) -> tuple[str, ...]:
    """Return what tells in this round that a name is behind Cloudflare; nothing when it is not seen to be."""
    return tuple(dict.fromkeys(_signs(evidence, name)))


def seen_answers(evidence: Evidence, name: str) -> tuple[str, ...]:
    """Return the addresses and targets that this round's answers for a name held, whoever gave them."""
    found: list[str] = []
    for resolved in evidence.all_current(ResolverAnswers, name):
        for one in resolved.answers:
            found += [*addresses_in(one.reply.answer, resolved.rtype), *targets_in(one.reply.answer, resolved.rtype)]
    for served in evidence.all_current(AuthorityAnswers, name):
        for given in served.answers:
            found += [*addresses_in(given.reply.answer, served.rtype), *targets_in(given.reply.answer, served.rtype)]
    found += [followed.address for followed in evidence.all_current(UserPathSeen, name)]
    return tuple(dict.fromkeys(found))


def _signs(evidence: Evidence, name: str) -> Iterator[str]:
    for answer in seen_answers(evidence, name):
        if answer.endswith(_SUFFIX) or is_cloudflare_address(answer):
            yield answer.rstrip(".")
    for followed in evidence.all_current(UserPathSeen, name):
        if followed.response.server.lower() == "cloudflare":
            yield f"server: cloudflare at {followed.address}"
