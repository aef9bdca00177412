"""The bearer token: one for all requests of a client, renewed in time and once after a 401."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

import httpx

from bcda import budgets
from bcda.api import protocol
from bcda.api.bounded_transport import extensions_of_the_same
from bcda.errors import CredentialsError, ManifestError, TokenLimitError
from bcda.settings import AuthMode, ConnectionSettings

_RENEW_EARLY_SECONDS = 60.0


class BcdaAuth(httpx.Auth):
    """Adds the bearer token to requests for the configured server, and to no other.

    Args:
        settings: server and credentials.
        clock: monotonic seconds.
        on_token: called with every new token before it is used, so that logs can mask it.
    """

    def __init__(
        self, settings: ConnectionSettings, *, clock: Callable[[], float], on_token: Callable[[str], None] | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_token = on_token
        self._token = ""
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token; after a 401 renew the token once and send it again.

        Raises:
            ManifestError: the request goes to another server.
            CredentialsError: the token endpoint refuses the credentials.
            TokenLimitError: the organization has asked for too many tokens.
            ServerError: something else than the token endpoint answered, or it is not well.
        """
        if protocol.origin(str(request.url)) != protocol.origin(self._settings.base_url):
            raise ManifestError("A request with a token was about to leave the configured server; it was not sent.")
        if self._settings.auth is AuthMode.NONE:
            yield request
            return
        used = self._token
        if self._clock() >= self._good_until:
            async with self._lock:
                if self._token == used or self._clock() >= self._good_until:
                    self._keep(await self._answer((yield self._token_request(request))))
        used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code != 401:  # noqa: PLR2004
            return
        async with self._lock:
            # Others may have renewed it while this request was under way.
            if self._token == used:
                self._keep(await self._answer((yield self._token_request(request))))
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _token_request(self, wanted: httpx.Request) -> httpx.Request:
        basic = httpx.BasicAuth(self._settings.client_id, self._settings.client_secret)
        request = httpx.Request(
            "POST",
            f"{self._settings.base_url}{protocol.TOKEN_PATH}",
            headers={"Accept": "application/json"},
            # A request that the client did not build has no time limit of its own; silence would be waited out for ever.
            extensions=extensions_of_the_same(wanted, most_bytes=budgets.TOKEN_BYTES),
        )
        return next(basic.sync_auth_flow(request))

    @staticmethod
    async def _answer(response: httpx.Response) -> httpx.Response:
        await response.aread()
        return response

    def _keep(self, response: httpx.Response) -> None:
        wished = protocol.wished_wait_seconds(response.headers, datetime.now(UTC))
        if protocol.is_misrouted(protocol.TOKEN_PATH, response.status_code, response.headers, response.content):
            raise protocol.misrouted_error(response.status_code, what="Token request")
        if response.status_code == 429:  # noqa: PLR2004
            # The body names the organization, so it is not repeated.
            raise TokenLimitError(
                "Token request: 429, the token limit: BCDA gives an organization 1,000 tokens in five minutes, all its "
                "credentials together, refused attempts included. If this happens again, look for another program that requests a "
                "token with each request.",
                retry_after_seconds=wished,
            )
        if response.status_code in {400, 401, 403}:
            raise CredentialsError(
                f"The token endpoint answered {response.status_code}. Check client id (login) and client secret "
                "(password) on the connection; a secret expires 90 days after it was made.",
                status=response.status_code,
            )
        if response.status_code != 200:  # noqa: PLR2004
            raise protocol.error_for(response.status_code, b"", what="Token request", retry_after=wished)
        token, lifetime = protocol.token_of(response.content)
        if self._on_token is not None:
            self._on_token(token)
        self._token = token
        self._good_until = self._clock() + max(lifetime - _RENEW_EARLY_SECONDS, lifetime / 2)
