"""Where a request led: which side a response came from, by the plan's fingerprints. Pure."""

from __future__ import annotations

from enum import StrEnum

from cutover.observations.origin import Response

MAINTENANCE_LABELS = ("old-maintenance", "new-maintenance")


class Lead(StrEnum):
    """What answered.

    ``BOTH``: the response fits old's and new's fingerprint, which cannot then tell them apart. ``UNTRUSTED``:
    something answered that has no valid certificate for the url's host. ``UNREACHABLE``: nothing answered.
    """

    NEW = "new"
    OLD = "old"
    MAINTENANCE = "maintenance"
    BOTH = "both"
    UNKNOWN = "unknown"
    UNTRUSTED = "untrusted"
    UNREACHABLE = "unreachable"


def lead_of(response: Response) -> Lead:
    """Return what answered. A maintenance page counts first: it is what a user sees, whoever serves it."""
    if response.error:
        return Lead.UNREACHABLE
    if response.tls_error:
        return Lead.UNTRUSTED
    if any(fits(response, label) for label in MAINTENANCE_LABELS):
        return Lead.MAINTENANCE
    old, new = fits(response, "old"), fits(response, "new")
    if old and new:
        return Lead.BOTH
    if old:
        return Lead.OLD
    return Lead.NEW if new else Lead.UNKNOWN


def fits(response: Response, label: str) -> bool:
    """Tell whether a response fits one fingerprint; False when the plan does not have it."""
    return any(match.label == label and match.matched for match in response.matches)


def saw(response: Response, *labels: str) -> str:
    """Return what was compared for the first of some labels that the plan has, or the status."""
    for label in labels:
        for match in response.matches:
            if match.label == label:
                return match.saw
    return status_of(response)


def page_seen(response: Response) -> str:
    """Return what of a maintenance page was recognised, "" when the response is none."""
    for match in response.matches:
        if match.label in MAINTENANCE_LABELS and match.matched:
            return match.saw
    return ""


def status_of(response: Response) -> str:
    """Return a response, or its absence, in a few words."""
    if response.error or response.tls_error:
        return response.error or response.tls_error
    where = f" to {response.location[:100]}" if response.location else ""
    server = f", server: {response.server[:40]}" if response.server else ""
    return f"status {response.status}{where}{server}"
