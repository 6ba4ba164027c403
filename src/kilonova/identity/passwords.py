"""Password digests: scrypt (RFC 7914) in worker threads, its parameters beside every digest.

A digest reads ``scrypt$<log2 N>$<r>$<p>$<salt>$<key>`` (base64). One check is tens of milliseconds of one core on
purpose; so only a few run at once, a bounded number waits, and whoever comes after that is told to come again. Old
digests stay valid when the cost is raised.
"""

import asyncio
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

from kilonova.model.clock import Random
from kilonova.model.errors import Unavailable

InThread = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments off the event loop; ``asyncio.to_thread`` is one."""

_BLOCK = 8  # scrypt's r; memory is 128 * N * r bytes
_LANES = 1
_SALT_BYTES = 16
_KEY_BYTES = 32


class Passwords:
    """Makes and compares digests. ``log_n`` is the cost (14: 16 MiB, about 40 ms)."""

    def __init__(
        self,
        rng: Random,
        *,
        log_n: int = 14,
        concurrency: int = 2,
        waiting: int = 200,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self._rng = rng
        self._log_n = log_n
        self._turn = asyncio.Semaphore(concurrency)
        self._limit = concurrency + waiting
        self._pending = 0
        self._in_thread = in_thread
        self._nobodys = _format(log_n, self._rng.randbytes(_SALT_BYTES), bytes(_KEY_BYTES))

    async def digest(self, password: str) -> str:
        """What to store for a password. Raises ``Unavailable`` when too many wait."""
        salt = self._rng.randbytes(_SALT_BYTES)
        key = await self._work(password, self._log_n, _BLOCK, _LANES, salt)
        return _format(self._log_n, salt, key)

    async def matches(self, password: str, digest: str | None) -> bool:
        """Whether the digest is this password's. None (nobody, or no password) is False after the same work."""
        log_n, block, lanes, salt, expected = _parse(digest or self._nobodys)
        key = await self._work(password, log_n, block, lanes, salt)
        return hmac.compare_digest(key, expected) and digest is not None

    async def _work(self, password: str, log_n: int, block: int, lanes: int, salt: bytes) -> bytes:
        if self._pending >= self._limit:
            raise Unavailable("Too many log-ins at once; try again in a moment.")
        self._pending += 1
        try:
            async with self._turn:
                found: bytes = await self._in_thread(_scrypt, password, log_n, block, lanes, salt)
                return found
        finally:
            self._pending -= 1


def _scrypt(password: str, log_n: int, block: int, lanes: int, salt: bytes) -> bytes:
    n = 1 << log_n
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=block, p=lanes, maxmem=256 * n * block, dklen=_KEY_BYTES
    )


def _format(log_n: int, salt: bytes, key: bytes) -> str:
    return f"scrypt${log_n}${_BLOCK}${_LANES}${b64encode(salt).decode()}${b64encode(key).decode()}"


def _parse(digest: str) -> tuple[int, int, int, bytes, bytes]:
    _, log_n, block, lanes, salt, key = digest.split("$")
    return int(log_n), int(block), int(lanes), b64decode(salt), b64decode(key)
