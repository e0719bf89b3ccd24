"""The way into AWS: boto3 clients with small timeouts, adaptive retries and a deadline, and their errors in words.

Credentials come from boto3's own chain. Nothing here knows a service's rate: botocore's adaptive mode learns it
from the throttling answers (https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import boto3
from botocore import exceptions
from botocore.config import Config

#: Route 53 is a global service, signed for this region; CloudTrail keeps its events here too.
HOME_REGION = "us-east-1"
_ATTEMPTS = 6
_THROTTLING = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_BAD_KEY = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "InvalidSignatureException"}
)


class DeadlineError(Exception):
    """The time given to a probe is over; nothing more is sent."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why AWS could not be asked.

    Attributes:
        error: one line, without secrets.
        permission: the IAM action that is missing, when that is the cause (``route53:GetChange``).
        code: AWS's own error code, "" when none was given.
    """

    error: str
    permission: str = ""
    code: str = ""


class Access:
    """Clients of one profile and endpoint, made once and kept.

    Args:
        profile: of the AWS configuration; None takes the chain's default.
        endpoint_url: asked instead of AWS for every service, when given.
        region: where clients are signed for.
    """

    def __init__(self, profile: str | None, endpoint_url: str | None, region: str) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._region = region
        self._session: boto3.Session | None = None
        self._clients: dict[str, Any] = {}
        self._lock = Lock()
        self._end = float("inf")
        self._last_code = ""

    def begin(self, seconds: float) -> None:
        """Start the clock: after so many seconds nothing is sent any more."""
        self._end = time.monotonic() + seconds
        self._last_code = ""

    def client(self, service: str) -> Any:
        """Return the client of a service.

        Raises:
            botocore.exceptions.BotoCoreError: the profile does not exist, or cannot be read.
        """
        with self._lock:
            if service not in self._clients:
                if self._session is None:
                    self._session = boto3.Session(profile_name=self._profile, region_name=self._region)
                client = self._session.client(  # type: ignore[call-overload]
                    service,
                    endpoint_url=self._endpoint_url,
                    config=Config(
                        connect_timeout=5,
                        read_timeout=15,
                        retries={"mode": "adaptive", "total_max_attempts": _ATTEMPTS},
                        user_agent_extra="cutover",
                    ),
                )
                client.meta.events.register_first("before-send.*", self._may_send)
                client.meta.events.register("needs-retry.*", self._note)
                self._clients[service] = client
            return self._clients[service]

    def explain(self, error: Exception, action: str) -> Trouble:
        """Put an error of ``action`` (``route53:GetChange``) into words; expired credentials are let go of."""
        trouble = explain(error, action)
        if isinstance(error, DeadlineError) and self._last_code in _THROTTLING:
            trouble = Trouble(f"AWS throttled {action} until the deadline", code=self._last_code)
        if trouble.code in _EXPIRED | _BAD_KEY:
            with self._lock:  # the next round reads the credentials anew
                self._clients.clear()
                self._session = None
        return trouble

    def _may_send(self, **_: object) -> None:
        if time.monotonic() > self._end:
            raise DeadlineError("the deadline of this probe has passed")

    def _note(self, response: tuple[object, dict[str, Any]] | None = None, **_: object) -> None:
        if response is not None:
            self._last_code = str(response[1].get("Error", {}).get("Code", ""))


@lru_cache(maxsize=8)
def access(profile: str | None, endpoint_url: str | None, region: str = HOME_REGION) -> Access:
    """Return the (kept) access for a profile and endpoint."""
    return Access(profile, endpoint_url, region)


def explain(error: Exception, action: str) -> Trouble:
    """Put what boto3 raised for ``action`` into one line that names the cause and what would help."""
    match error:
        case exceptions.ClientError():
            return _of_answer(error, action)
        case exceptions.NoCredentialsError():
            return Trouble(f"no AWS credentials were found; {action} needs them", code="NoCredentials")
        case exceptions.ProfileNotFound():
            return Trouble(f"{_one_line(error)}: see [providers.route53] profile", code="ProfileNotFound")
        case exceptions.PartialCredentialsError() | exceptions.CredentialRetrievalError():
            return Trouble(f"the AWS credentials cannot be read: {_one_line(error)}", code="NoCredentials")
        case exceptions.UnauthorizedSSOTokenError() | exceptions.SSOError() | exceptions.TokenRetrievalError():
            return Trouble(f"the AWS sign-on has expired (run: aws sso login): {_one_line(error)}", code="ExpiredToken")
        case exceptions.ConnectTimeoutError() | exceptions.ReadTimeoutError():
            return Trouble(f"AWS did not answer {action} in time: {_one_line(error)}")
        case DeadlineError():
            return Trouble(f"{action} was not finished before the deadline")
        case _:
            return Trouble(f"{action} failed: {_one_line(error)}")


def _of_answer(error: exceptions.ClientError, action: str) -> Trouble:
    detail = error.response.get("Error", {})
    code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
    if code in _DENIED:
        told = re.search(r"not authorized to perform: ([\w-]+:\w+)", message)
        permission = told[1] if told else action
        return Trouble(f"AWS refused {action}: {permission} is not allowed", permission, code)
    if code in _THROTTLING:
        return Trouble(f"AWS throttled {action}, after {_ATTEMPTS} attempts", code=code)
    if code in _EXPIRED:
        return Trouble(f"the AWS credentials have expired ({code} on {action})", code=code)
    if code in _BAD_KEY:
        return Trouble(f"AWS does not accept the credentials ({code} on {action})", code=code)
    return Trouble(f"AWS answered {action} with {code or 'an error'}: {' '.join(message.split())[:200]}", code=code)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
