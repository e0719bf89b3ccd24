"""JSON over HTTP to telemetry APIs: limits honoured, failures told apart, one client per host."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

from cutover.clock import Clock
from cutover.http import USER_AGENT, httpx, trust_store
from cutover.observations.traffic import Sight
from cutover.probes.traffic.unseen import UnseenError

ATTEMPTS = 3
PATIENCE = 10.0
"""Seconds that one call may wait between its attempts; a longer limit is for a later round."""
SKEW_LIMIT = timedelta(seconds=5)
_BODY_LIMIT = 16 << 20
_TIMEOUT = httpx.Timeout(8.0, connect=4.0)


class ApiHosts:
    """The clients of one observer: a host is asked through one client, whatever source asks it."""

    def __init__(self, clock: Clock, *, jitter: random.Random | None = None) -> None:
        self._clock = clock
        self._jitter = jitter or random.Random()  # noqa: S311 - spreads retries, protects nothing
        self._hosts: dict[str, ApiHost] = {}
        self._shared: dict[str, Any] = {}

    def shared(self, key: str, make: Callable[[], Any]) -> Any:
        """Return a client that speaks something else (boto3), made once."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def host(self, base_url: str) -> ApiHost:
        """Return the client of a host (scheme, name and port of a url)."""
        parsed = httpx.URL(base_url)
        origin = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
        if origin not in self._hosts:
            self._hosts[origin] = ApiHost(origin, self._clock, self._jitter)
        return self._hosts[origin]

    async def close(self) -> None:
        """Close every client."""
        for host in self._hosts.values():
            await host.close()
        self._hosts.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class ApiHost:
    """One host: its connection pool, and until when it wants to be left alone."""

    def __init__(self, origin: str, clock: Clock, jitter: random.Random) -> None:
        self.origin = origin
        self._clock = clock
        self._jitter = jitter
        self._client = httpx.AsyncClient(
            verify=trust_store(), timeout=_TIMEOUT, headers={"User-Agent": USER_AGENT}, follow_redirects=False
        )
        self._silent_until: datetime | None = None
        self._why_silent = ""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Any:
        """GET a JSON document.

        Raises:
            UnseenError: there is none that may be used.
        """
        return await self._call("GET", path, params=params, headers=headers)

    async def post(
        self,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """POST a JSON body or a form, and return the JSON document that comes back.

        Raises:
            UnseenError: there is none that may be used.
        """
        return await self._call("POST", path, json=body, data=form, headers=headers)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        waited = 0.0
        failure = UnseenError(Sight.UNREACHABLE, f"{self.origin} was not asked")
        for attempt in range(ATTEMPTS):
            pause = self._pause(attempt)
            if waited + pause > PATIENCE:
                break
            if pause:
                await self._clock.sleep(pause)
                waited += pause
            try:
                return await self._once(method, path, options)
            except UnseenError as error:
                failure = error
                if error.sight not in {Sight.UNREACHABLE, Sight.RATE_LIMITED}:
                    break
        if self._left_silent() > PATIENCE - waited:
            raise UnseenError(Sight.RATE_LIMITED, self._why_silent) from None
        raise failure from None

    def _pause(self, attempt: int) -> float:
        """Seconds to wait: what the host asked for, else exponential back-off with full jitter."""
        asked = self._left_silent()
        backoff = self._jitter.uniform(0.1, 0.5 * 2**attempt) if attempt else 0.0
        return max(asked, backoff)

    def _left_silent(self) -> float:
        if self._silent_until is None:
            return 0.0
        return max(0.0, (self._silent_until - self._clock.now()).total_seconds())

    async def _once(self, method: str, path: str, options: Mapping[str, Any]) -> Any:
        given = {key: value for key, value in options.items() if value is not None}
        try:
            async with self._client.stream(method, f"{self.origin}{path}", **given) as response:
                raw = bytearray()
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > _BODY_LIMIT:
                        raise UnseenError(Sight.MALFORMED, f"{self.origin} answered with more than 16 MB")
        except httpx.TimeoutException:
            raise UnseenError(Sight.UNREACHABLE, f"{self.origin} did not answer in time") from None
        except httpx.RemoteProtocolError:
            raise UnseenError(Sight.UNREACHABLE, f"{self.origin} broke off in the middle of its answer") from None
        except httpx.DecodingError:
            raise UnseenError(Sight.MALFORMED, f"{self.origin} answered with a body that cannot be decoded") from None
        except (httpx.HTTPError, OSError) as error:
            raise UnseenError(Sight.UNREACHABLE, f"{self.origin} cannot be reached: {_reason(error)}") from None
        self._note_limits(response)
        self._check_status(response, bytes(raw))
        self._check_clock(response)
        try:
            return json.loads(bytes(raw))
        except ValueError:
            raise UnseenError(Sight.MALFORMED, f"{self.origin} answered with something that is no JSON") from None

    def _note_limits(self, response: httpx.Response) -> None:
        """Remember until when the host wants no more calls (``Retry-After``, ``X-RateLimit-*``)."""
        headers = response.headers
        limited = response.status_code == 429
        exhausted = headers.get("x-ratelimit-remaining", "").strip() == "0"
        seconds = _retry_after(headers.get("retry-after", ""), self._clock.now()) if limited else None
        if seconds is None and (limited or exhausted):
            seconds = _seconds(headers.get("x-ratelimit-reset", "") or headers.get("x-ratelimit-period", ""))
        if seconds is None and limited:
            seconds = 1.0
        if not seconds:
            return
        named = headers.get("x-ratelimit-name", "")
        allowed = headers.get("x-ratelimit-limit", "")
        period = headers.get("x-ratelimit-period", "")
        rate = f": {allowed} calls in {period} s" if allowed and period else ""
        self._silent_until = self._clock.now() + timedelta(seconds=seconds)
        limit = f"limit {named}" if named else "limit"
        self._why_silent = f"{self.origin} wants no calls for {seconds:.0f} s (its {limit}{rate})"

    def _check_status(self, response: httpx.Response, raw: bytes) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        said = f"{self.origin} answered {status}{_said(raw)}"
        if status in {401, 403, 407}:
            raise UnseenError(Sight.FORBIDDEN, said)
        if status in {404, 410}:
            raise UnseenError(Sight.NOT_FOUND, said)
        if status == 429:
            raise UnseenError(Sight.RATE_LIMITED, self._why_silent or said)
        if status == 408 or status >= 500:
            raise UnseenError(Sight.UNREACHABLE, said)
        raise UnseenError(Sight.MALFORMED, said)

    def _check_clock(self, response: httpx.Response) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers.get("date", ""))
        except (TypeError, ValueError):
            return
        if theirs.tzinfo is None:
            theirs = theirs.replace(tzinfo=UTC)
        ahead = theirs - self._clock.now()
        if abs(ahead) > SKEW_LIMIT:
            seconds = round(abs(ahead).total_seconds())
            word = "behind" if ahead > timedelta(0) else "ahead of"
            raise UnseenError(
                Sight.SKEWED, f"this machine's clock is {seconds} s {word} {self.origin}'s: windows would not match"
            )


def _retry_after(text: str, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date (RFC 9110 10.2.3)."""
    seconds = _seconds(text)
    if seconds is not None:
        return seconds
    try:
        until = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def _seconds(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 <= found < 86400 * 7 else None


def _said(raw: bytes) -> str:
    """The first error message of a JSON error document, shortened; "" when there is none."""
    try:
        document = json.loads(raw)
    except ValueError:
        return ""
    found: object = document
    if isinstance(document, dict):
        found = document.get("errors") or document.get("error") or document.get("message") or ""
    if isinstance(found, list):
        found = found[0] if found else ""
    if isinstance(found, dict):
        found = found.get("detail") or found.get("title") or ""
    text = "".join(char if char.isprintable() else " " for char in str(found))
    return f": {text[:160]}" if text.strip() else ""


def _reason(error: BaseException) -> str:
    """Why a connection failed, in the words of the system."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return str(error).split("\n", maxsplit=1)[0][:120] or type(error).__name__
