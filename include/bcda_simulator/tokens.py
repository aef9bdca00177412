"""Tokens: the endpoint's rules and the bearer check (docs/bcda.md#token, docs/bcda.md#token-check)."""

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bcda_simulator.clock import Clock
from bcda_simulator.settings import Entity, SimulatorSettings


class BearerError(Exception):
    """A bearer token that is not accepted."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class _Issued:
    entity: Entity
    until: datetime


class Tokens:
    """Issues tokens and checks them."""

    def __init__(self, entities: Sequence[Entity], settings: SimulatorSettings, clock: Clock) -> None:
        self._entities = {entity.client_id: entity for entity in entities}
        self._settings = settings
        self._clock = clock
        self._issued: dict[str, _Issued] = {}
        self._window_start: datetime | None = None
        self._used: dict[str, int] = {}

    def answer(self, authorization: str | None) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body for a token request."""
        plain = {"Content-Type": "text/plain; charset=utf-8"}
        credentials = _basic(authorization)
        if credentials is None:
            return 400, plain, b"Bad Request\n"
        entity = self._entities.get(credentials[0])
        if entity is None:
            return 401, plain, b"Unauthorized\n"
        if self._over_limit(entity):
            text = (
                f"{entity.cms_id} exceeded the rate limit for /auth/token. "
                "Access tokens last 20 minutes; please cache and reuse them.\n"
            )
            return 429, plain | {"Retry-After": str(self._settings.token_window_seconds)}, text.encode()
        if not secrets.compare_digest(credentials[1], entity.client_secret):
            return 401, plain, b"Unauthorized\n"
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"}
        seconds: str | int = self._settings.token_seconds
        lifetime = json.dumps(str(seconds) if self._settings.quirks.text_expires_in else seconds)
        body = f'{{"access_token": "{self._issue(entity)}", "expires_in": {lifetime}, "token_type":"bearer"}}'
        return 200, headers, body.encode()

    def check(self, authorization: str | None) -> Entity:
        """Return the entity of a bearer token.

        Raises:
            BearerError: with status and reason.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Bearer" or not token or " " in token:
            raise BearerError(401, "Invalid Token")
        if token.count(".") != 2:  # noqa: PLR2004 - a JWT has three parts
            raise BearerError(400, "Request Error")
        issued = self._issued.get(token)
        if issued is None or self._clock.now() >= issued.until:
            raise BearerError(401, "Expired Token")
        return issued.entity

    def client_of(self, authorization: str | None) -> str:
        """Return the client id that a bearer token was given to, empty for anything else; for the request log."""
        issued = self._issued.get((authorization or "").partition(" ")[2])
        return issued.entity.client_id if issued else ""

    def expire_all(self) -> None:
        """Refuse every token given so far."""
        self._issued.clear()

    def _issue(self, entity: Entity) -> str:
        now = self._clock.now()
        until = now + timedelta(seconds=self._settings.token_seconds)
        claims = {
            "iss": "ssas",
            "iat": int(now.timestamp()),
            "exp": int(until.timestamp()),
            "jti": secrets.token_hex(8),
            "use": "AccessToken",
            "cid": entity.client_id,
            "sys": "1",
            "dat": json.dumps({"cms_ids": [entity.cms_id]}),
        }
        head = _url64(json.dumps({"alg": "RS512", "typ": "JWT"}).encode())
        token = f"{head}.{_url64(json.dumps(claims).encode())}.{_url64(secrets.token_bytes(32))}"
        self._issued[token] = _Issued(entity, until)
        return token

    def _over_limit(self, entity: Entity) -> bool:
        now = self._clock.now()
        if self._window_start is None or now - self._window_start >= timedelta(
            seconds=self._settings.token_window_seconds
        ):
            self._window_start, self._used = now, {}
        self._used[entity.cms_id] = self._used.get(entity.cms_id, 0) + 1
        return self._used[entity.cms_id] > self._settings.token_limit


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (client_id, secret) if colon else None


def _url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
