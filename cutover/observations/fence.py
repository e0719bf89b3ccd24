"""What stood on old before it was fenced: written before anything is changed, so that a release can restore it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from cutover.observations.base import Observation


class ConnectGrant(NamedTuple):
    """One CONNECT entry of the database's ACL. ``grantee`` is "" for PUBLIC."""

    grantor: str
    grantee: str
    grantable: bool


class RoleSetting(NamedTuple):
    """``default_transaction_read_only`` as it is set for a role in this database (``role`` "" for everybody).

    Attributes:
        value: ``on``, ``off``..., None where it is not set.
    """

    role: str
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceBegun(Observation):
    """``cutover fence`` is about to change these; a release brings exactly this back.

    Attributes:
        acl: ``pg_database.datacl`` as text, None where it is NULL (the built-in default).
        connect: its CONNECT entries, the default's where it is NULL.
        settings: of everybody and of every app role, in this database.
        app_roles: of the plan.
    """

    kind: ClassVar[str] = "database.fence-begun"

    side: str
    system_identifier: str
    database: str
    owner: str
    acl: str | None
    connect: tuple[ConnectGrant, ...]
    settings: tuple[RoleSetting, ...]
    app_roles: tuple[str, ...]

    @property
    def subject(self) -> tuple[str, ...]:
        """The side."""
        return (self.side,)
