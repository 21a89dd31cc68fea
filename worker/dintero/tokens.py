"""An account's access token, by client credentials."""

import asyncio
import logging
import math
import re
from collections.abc import Callable

import httpx
import orjson
import structlog

from worker.dintero.answers import read_exception, retry_after
from worker.dintero.call import Credentials
from worker.dintero.client import Client
from worker.dintero.http1 import Received

DEFAULT_LIFETIME = 600.0
LONGEST_LIFETIME = 24 * 3600.0
USABLE = 0.9
"""Part of its lifetime for which a token is used: it must still be good when the request that carries it arrives."""
RENEWAL_PAUSE = 5.0
"""Seconds after an early renewal that failed, at least."""

log = structlog.wrap_logger(logging.getLogger(__name__))

_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)


class TokenError(Exception):
    """There is no token now. Ask again, after `retry_after` milliseconds if given. `cause` is a short label."""

    def __init__(self, cause: str, retry_after: int | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.retry_after = retry_after


class Tokens:
    """Keeps one account's token. However many ask, one request for it is under way.

    It is renewed from about half of its lifetime on, while the old one serves: a renewal that fails then is no failure.
    Times are seconds of the clock given.
    """

    def __init__(
        self,
        account: str,
        credentials: Callable[[], Credentials],
        client: Client,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._account = account
        self._credentials = credentials
        self._client = client
        self._clock = clock
        self._random = random
        self._token: str | None = None
        self._renew_at = 0.0
        self._usable_until = 0.0
        self._renewal: asyncio.Task[str | TokenError] | None = None

    async def get(self) -> str:
        """A token that is good as far as we know. Does not suspend while there is one; raises `TokenError`."""
        now = self._clock()
        if self._token is not None and now < self._usable_until:
            if now >= self._renew_at:
                self._renewing()
            return self._token
        # Shielded: the one who gives up waiting must not take the token from the others.
        renewed = await asyncio.shield(self._renewing())
        if isinstance(renewed, TokenError):
            raise TokenError(renewed.cause, renewed.retry_after)
        return renewed

    def invalidate(self, token: str) -> None:
        """The API refused this token. One that came since stays."""
        if token == self._token:
            self._token = None

    async def aclose(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def _renewing(self) -> asyncio.Task[str | TokenError]:
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
        return self._renewal

    async def _renew(self) -> str | TokenError:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._client.patience):
                received = await self._client.token(self._account, self._credentials())
            token, lifetime = _read(received)
        except TimeoutError:
            error = TokenError("token_timeout")
        except KeyError:
            error = TokenError("unknown_account")  # its credentials were taken away, and may come back
        except httpx.HTTPError as reason:
            error = TokenError("token_" + read_exception(reason).cause)
        except TokenError as reason:
            error = reason
        except Exception:
            log.exception("token_renewal_failed", account=self._account)
            error = TokenError("token_internal_error")
        else:
            # Counted from before the request: the token cannot be younger than we think.
            self._token = token
            self._usable_until = asked_at + lifetime * USABLE
            self._renew_at = asked_at + lifetime * (0.5 + self._random() / 10)
            return token
        pause = max(RENEWAL_PAUSE * (1 + self._random()), (error.retry_after or 0) / 1000)
        self._renew_at = self._clock() + pause
        return error


def _read(received: Received) -> tuple[str, float]:
    if not 200 <= received.status < 300:
        raise TokenError(f"token_http_{received.status}", retry_after(received.headers))
    try:
        content = orjson.loads(received.body)
    except orjson.JSONDecodeError:
        raise TokenError("token_not_json") from None
    token = content.get("access_token") if isinstance(content, dict) else None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TokenError("token_missing")
    return token, _lifetime(content.get("expires_in"))


def _lifetime(expires_in: object) -> float:
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return DEFAULT_LIFETIME
    if not math.isfinite(expires_in) or expires_in <= 0:
        return DEFAULT_LIFETIME
    return min(float(expires_in), LONGEST_LIFETIME)
