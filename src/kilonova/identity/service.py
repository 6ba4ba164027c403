"""Identity: who someone is, what they may be here, and for how long.

Owns tokens from issue to revocation. Checking one costs a dictionary look-up while its last full check is younger
than ``cache_seconds``; so a revocation, a disabled user or a role taken away is in force at once in the process that
did it and within ``cache_seconds`` in the others. Fails with ``Unauthenticated`` in one and the same way whatever was
wrong, with ``Unavailable`` when the database or the workers cannot be had.

Reference: Identity API v3, "Authentication and token management".
"""

import asyncio
from base64 import urlsafe_b64encode
from collections import OrderedDict
from functools import lru_cache
from typing import Any

import msgspec

from kilonova.database import standing as queries
from kilonova.database.connection import Database
from kilonova.database.secrets import shared_secret
from kilonova.identity.catalog import CatalogEntry, render
from kilonova.identity.passwords import InThread, Passwords
from kilonova.identity.tokens import Claims, Sealer
from kilonova.model.clock import Clock, Ids, Random
from kilonova.model.context import Caller
from kilonova.model.errors import Unauthenticated
from kilonova.model.identity import Scope, Standing
from kilonova.web.policy import IMPLIED

MICROS = 1_000_000
REFUSED = "The request you have made requires authentication."


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, and counts. ``public_url`` None: the catalog follows the URL of each request; ``mount`` is the path
    this API is mounted at, which is cut off for that."""

    token_seconds: float = 86_400.0
    region: str = "RegionOne"
    public_url: str | None = None
    mount: str = "/identity"
    max_limit: int = 1000
    cache_seconds: float = 3.0
    cache_size: int = 10_000
    hash_log_n: int = 14
    hash_concurrency: int = 2
    hash_waiting: int = 200


class Issued(msgspec.Struct, frozen=True):
    """A token with what it claims and what is behind it."""

    token: str
    claims: Claims
    standing: Standing


class _Checked(msgspec.Struct, frozen=True):
    fresh_until: float
    expires_at: int
    caller: Caller


class Identity:
    """The service. It is the ``TokenValidator`` of every API beside it."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        passwords: Passwords,
        *,
        clock: Clock,
        ids: Ids,
        rng: Random,
        settings: IdentitySettings,
        catalog: tuple[CatalogEntry, ...],
    ) -> None:
        self.database = database
        self.passwords = passwords
        self.clock = clock
        self.ids = ids
        self.rng = rng
        self.settings = settings
        self.entries = catalog
        self._sealer = sealer
        self._cache: OrderedDict[str, _Checked] = OrderedDict()
        self._generation = 0
        # Clients choose the Host header, so only a few renderings are kept.
        self.catalog = lru_cache(maxsize=64)(self._render)

    async def validate(self, token: str) -> Caller:
        """The caller behind a token. Raises ``Unauthenticated``."""
        known = self._cache.get(token)
        if known is not None and self.clock.monotonic() < known.fresh_until and self.clock.now() < known.expires_at:
            return known.caller
        return await self._check(token)

    async def _check(self, token: str) -> Caller:
        generation = self._generation
        self._cache.pop(token, None)
        issued = await self.examine(token)
        caller = _caller(issued)
        if generation == self._generation:  # else something changed while we were reading
            fresh_until = self.clock.monotonic() + self.settings.cache_seconds
            self._cache[token] = _Checked(fresh_until, issued.claims.expires_at, caller)
            if len(self._cache) > self.settings.cache_size:
                self._cache.popitem(last=False)
        return caller

    def changed(self) -> None:
        """Forget every check: something in the directory is different now."""
        self._generation += 1
        self._cache.clear()

    async def examine(self, token: str) -> Issued:
        """A token with everything behind it, read afresh. Raises ``Unauthenticated``."""
        claims = self._sealer.open(token, self.clock.now())
        found = await self.database.run(
            queries.standing,
            claims.user_id,
            claims.scope,
            IMPLIED,
            audit_id=claims.audit_ids[0],
            credential_id=claims.credential_id,
        )
        if found is None or found.revoked or not self._holds(claims, found):
            raise Unauthenticated("The token is not valid any more.")
        return Issued(token, claims, found)

    def _holds(self, claims: Claims, found: Standing) -> bool:
        if not (found.user.enabled and found.user_domain.enabled):
            return False
        if claims.issued_at < found.user.tokens_valid_from:
            return False
        expires_at = found.credential.expires_at if found.credential is not None else None
        if expires_at is not None and expires_at <= self.clock.now():
            return False
        return _usable(claims.scope, found)

    async def issue(
        self,
        user_id: str,
        scope: Scope,
        method: str,
        *,
        issued_at: int,
        parent: Claims | None = None,
        credential_id: str | None = None,
    ) -> Issued:
        """A new token for a user who proved to be it at ``issued_at``. Raises ``Unauthenticated``.

        A token got from a token (``parent``) ends when that one ends.
        """
        expires_at = issued_at + int(self.settings.token_seconds * MICROS)
        audit_ids = [self.ids.hex()[:22]]
        if parent is not None:
            expires_at = parent.expires_at
            audit_ids.append(parent.audit_ids[-1])
        found = await self.database.run(queries.standing, user_id, scope, IMPLIED, credential_id=credential_id)
        if found is None:
            raise Unauthenticated(REFUSED)
        if found.credential is not None and found.credential.expires_at is not None:
            expires_at = min(expires_at, found.credential.expires_at)
        claims = Claims(user_id, scope, method, audit_ids, issued_at, expires_at, credential_id)
        if not self._holds(claims, found):
            raise Unauthenticated(REFUSED)
        return Issued(self._sealer.seal(claims), claims, found)

    async def revoke(self, token: str) -> None:
        """Void a token now. Raises ``Unauthenticated`` if it is none of ours or over."""
        claims = self._sealer.open(token, self.clock.now())
        await self.database.run(queries.revoke, claims.audit_ids[0], claims.expires_at, self.clock.now())
        self.changed()

    def base(self, base_url: str) -> str:
        """The deployment's base URL, from what was configured or from how this request came."""
        return self.settings.public_url or base_url.removesuffix(self.settings.mount)

    def _render(self, base: str) -> list[dict[str, Any]]:
        return render(self.entries, base, self.settings.region)


def _usable(scope: Scope, found: Standing) -> bool:
    """Whether the scope's object is enabled and the user has a role there. No scope needs neither."""
    if scope.kind == "":
        return True
    if found.project is not None and not (
        found.project.enabled and found.scope_domain is not None and found.scope_domain.enabled
    ):
        return False
    if found.domain is not None and not found.domain.enabled:
        return False
    return bool(found.roles)


def _caller(issued: Issued) -> Caller:
    found = issued.standing
    return Caller(
        user_id=found.user.id,
        project_id=None if found.project is None else found.project.id,
        roles=frozenset(role.name for role in found.all_roles),
        user_name=found.user.name,
        project_name="" if found.project is None else found.project.name,
        user_domain_id=found.user.domain_id,
        project_domain_id="default" if found.project is None else found.project.domain_id,
        system=issued.claims.scope.kind == "system",
    )


async def open_identity(
    database: Database,
    *,
    clock: Clock,
    ids: Ids,
    rng: Random,
    settings: IdentitySettings,
    catalog: tuple[CatalogEntry, ...],
    in_thread: InThread = asyncio.to_thread,
) -> Identity:
    """The service on a database whose schema is in place; makes the token key if there is none yet."""
    candidate = urlsafe_b64encode(rng.randbytes(32)).decode()
    key = await database.run(shared_secret, "identity.tokens", candidate, clock.now())
    passwords = Passwords(
        rng,
        log_n=settings.hash_log_n,
        concurrency=settings.hash_concurrency,
        waiting=settings.hash_waiting,
        in_thread=in_thread,
    )
    return Identity(
        database, Sealer(key), passwords, clock=clock, ids=ids, rng=rng, settings=settings, catalog=catalog
    )
