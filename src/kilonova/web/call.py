"""One HTTP call: what a handler is given, and what it gives back."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import msgspec

from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import Invalid, TooLarge, Unauthenticated


class Reply(msgspec.Struct, frozen=True):
    """An answer: ``body`` is encoded as JSON; bytes go out as they are, an iterator of bytes is streamed."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = {}
    media_type: str = "application/json"


class Upload:
    """A request body that is read as it comes, never held whole."""

    def __init__(self, receive: Any, limit: int) -> None:
        self._receive = receive
        self._limit = limit

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises ``TooLarge`` past the limit, ``Invalid`` if the client goes away."""
        seen = 0
        while True:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Invalid("The upload ended before its last byte.")
            piece: bytes = event.get("body", b"")
            seen += len(piece)
            if seen > self._limit:
                raise TooLarge(f"The upload is larger than the {self._limit} bytes allowed here.")
            if piece:
                yield piece
            if not event.get("more_body"):
                return


class Call:
    """One call on its way through routing, validation, policy and handler.

    ``version`` is the minor of the microversion (2.``version``); 0 where the service has none. ``query`` keeps
    every value of a repeated key. ``body`` is the decoded JSON document, or None; ``upload`` is set on routes that
    stream. ``base_url`` is scheme, host and mount point as the client reached them, without a final slash.
    ``started_at`` is when the call arrived, in microseconds since the epoch.
    """

    __slots__ = (
        "base_url",
        "body",
        "context",
        "headers",
        "method",
        "params",
        "path",
        "policy",
        "query",
        "started_at",
        "upload",
        "version",
    )

    def __init__(
        self,
        *,
        method: str,
        path: str,
        headers: Mapping[str, str],
        base_url: str,
        context: RequestContext,
        started_at: int,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.base_url = base_url
        self.context = context
        self.started_at = started_at
        self.query: dict[str, list[str]] = {}
        self.params: dict[str, str] = {}
        self.body: Any = None
        self.upload: Upload | None = None
        self.version = 0
        self.policy: Any = None

    @property
    def caller(self) -> Caller:
        """Who asks. Raises ``Unauthenticated`` on the few routes that need no token."""
        if self.context.caller is None:
            raise Unauthenticated("The request you have made requires authentication.")
        return self.context.caller

    @property
    def project_id(self) -> str:
        """The project the token is scoped to; ``Invalid`` for a token without one."""
        if self.caller.project_id is None:
            raise Invalid("This operation needs a token that is scoped to a project.")
        return self.caller.project_id

    def first(self, key: str) -> str | None:
        """The last value given for a query key (the one that counts), or None."""
        values = self.query.get(key)
        return values[-1] if values else None

    def allows(self, rule: str) -> bool:
        """Whether the caller may do what ``rule`` (a policy name) protects."""
        return cast(bool, self.policy.allows(rule, self.caller))

    def require(self, rule: str) -> None:
        """Raise ``Forbidden`` unless the caller may do what ``rule`` protects."""
        self.policy.require(rule, self.caller)
