"""``dns.caa``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from cutover.check import Outcome, Phase, Severity, check, failed, passed, unknown, warned
from cutover.evidence import Evidence
from cutover.observations.dns import NameSeen
from cutover.plan import Plan

from ._reading import shown, why_unseen

_ISSUE = re.compile(r"^(?P<owner>\S+)\s+\d+\s+issue\s+\"?(?P<issuer>[^\";\s]*)", re.IGNORECASE)
_AMAZON = frozenset({"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"})
"""Certificate Manager needs one of these (AWS Certificate Manager user guide, "CAA")."""

_AWS_HOSTS = (".cloudfront.net.", ".amazonaws.com.", ".elasticbeanstalk.com.")


@check(
    title="CAA records may keep new's certificate authority from issuing",
    severity=Severity.WARNING,
    phases=(Phase.PREFLIGHT,),
)
def caa(plan: Plan, evidence: Evidence, now: datetime) -> Iterator[Outcome]:
    """Say which certificate authorities may issue for the name (RFC 8659).

    The new host gets its own certificate, often from another authority. A CAA record that does not name it makes
    issuance fail, and later every renewal: on the day itself, or two months after.
    """
    for name in plan.names:
        yield _of_name(plan, evidence, name)


def _of_name(plan: Plan, evidence: Evidence, name: str) -> Outcome:
    subject = shown(name)
    seen = evidence.current(NameSeen, name)
    if seen is None:
        return unknown(subject, why_unseen(evidence, name), name=name)
    if seen.caa_error:
        return unknown(subject, f"CAA could not be seen: {seen.caa_error}", name=name)
    found = [match for record in seen.caa if (match := _ISSUE.match(record))]
    if not found:
        return passed(subject, "no CAA record restricts who may issue", name=name)
    owner = shown(found[0]["owner"])
    issuers = sorted({match["issuer"].lower() for match in found} - {""})
    said = f"only {' and '.join(issuers)} may issue" if issuers else "nobody may issue"
    message = f"{said} (CAA at {owner})"
    if _is_at_aws(x.target for x in plan.named(name).new) and not _AMAZON & set(issuers):
        message += f": new is at AWS, whose certificates need one of {', '.join(sorted(_AMAZON))}"
        return failed(subject, message, name=name, issuers=issuers)
    return warned(subject, f"{message}: new's certificate must come from there", name=name, issuers=issuers)


def _is_at_aws(targets: Iterable[str | None]) -> bool:
    return any(target is not None and target.endswith(_AWS_HOSTS) for target in targets)
