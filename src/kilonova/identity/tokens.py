"""Tokens: sealed claims, so that no process has to look them up to know whose they are.

A token is a Fernet message (``cryptography``'s specification: AES-128-CBC, HMAC-SHA256) around a small msgpack array.
The key lives in the table ``secrets`` and is the same for every API process. Whether the claims *still* hold (user
disabled, role taken away, token revoked) is the business of ``service.py``.
"""

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from kilonova.model.errors import Unauthenticated
from kilonova.model.identity import Scope

LONGEST = 1024  # characters; ours have about 300


class Claims(msgspec.Struct, frozen=True, array_like=True):
    """What a token says. Moments in microseconds; ``audit_ids`` are its own and, if it was got from a token, that
    one's."""

    user_id: str
    scope: Scope
    method: str
    audit_ids: list[str]
    issued_at: int
    expires_at: int
    credential_id: str | None = None

    @property
    def methods(self) -> list[str]:
        """As the API lists them: a token got from a token names both."""
        return self.method.split("+")


class Sealer:
    """Claims to tokens and back, with one key (URL-safe base64 of 32 bytes)."""

    def __init__(self, key: str) -> None:
        self._fernet = Fernet(key)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Claims).decode

    def seal(self, claims: Claims) -> str:
        """The token."""
        sealed = self._fernet.encrypt_at_time(self._encode(claims), claims.issued_at // 1_000_000)
        return sealed.decode().rstrip("=")

    def open(self, token: str, now: int) -> Claims:
        """The claims. Raises ``Unauthenticated`` for what we did not seal or what is over."""
        if len(token) > LONGEST:
            raise Unauthenticated("The token is not valid.")
        try:
            claims = self._decode(self._fernet.decrypt((token + "=" * (-len(token) % 4)).encode("ascii")))
        except (InvalidToken, UnicodeEncodeError, msgspec.DecodeError):
            raise Unauthenticated("The token is not valid.") from None
        if now >= claims.expires_at:
            raise Unauthenticated("The token has expired.")
        return claims
