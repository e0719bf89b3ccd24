"""Which urls are asked for a name, and on which paths. Pure: probes ask by it, checks read by it."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit, urlunsplit

from cutover.plan import Plan
from cutover.plan_values import absolute


def origin_url(plan: Plan, name: str, side: str) -> str:
    """Return the url that one side is asked: its own, else the other side's, else the name's front page."""
    own = plan.origin_of(name, side).url
    other = plan.origin_of(name, "old" if side == "new" else "new").url
    return own or other or f"https://{name.rstrip('.')}/"


def user_url(plan: Plan, name: str) -> str:
    """Return the url that stands for what users ask: new's, because that is what must answer."""
    return origin_url(plan, name, "new")


def is_for(url: str, name: str) -> bool:
    """Tell whether a url asks for a name: only then do its certificate and its page say something of that name."""
    try:
        return absolute(urlsplit(url).hostname or "") == name
    except ValueError:
        return False


def port_of(url: str) -> int:
    """Return the port of a url, 80 or 443 when it has none."""
    parts = urlsplit(url)
    return parts.port or (80 if parts.scheme == "http" else 443)


def path_of(url: str) -> str:
    """Return what a url asks of its host: path and query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def deep_path(name: str) -> str:
    """Return a path that looks like a page somewhere inside an application, the same in every round.

    A maintenance page may be served on some paths only (a Worker route, a CDN behaviour); the same path in every
    round lets caches show what they would show to users.
    """
    digest = hashlib.sha256(f"cutover deep path {name}".encode()).hexdigest()
    return f"/{digest[:6]}/{digest[6:14]}/{digest[14:22]}"


def with_path(url: str, path: str, *, busting: str = "") -> str:
    """Return a url with another path (and its query), and a cache-busting parameter when one is given."""
    scheme, netloc, _, _, _ = urlsplit(url)
    bare, _, query = path.partition("?")
    if busting:
        query = f"{query}&cutover={busting}" if query else f"cutover={busting}"
    return urlunsplit((scheme, netloc, bare, query, ""))
