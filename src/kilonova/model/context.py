"""Who asks, and in which request: what travels with every message and every query."""

import msgspec


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The identity behind a request, as the token said it. ``roles`` include the implied ones."""

    user_id: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    user_name: str = ""
    project_name: str = ""
    user_domain_id: str = "default"
    project_domain_id: str = "default"
    system: bool = False

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """One request on its way through the services.

    ``request_id`` is OpenStack's ``req-…``; ``traceparent`` the W3C Trace Context header; ``deadline`` a
    moment in microseconds after which nobody waits for an answer any more (None: no deadline).
    """

    request_id: str
    caller: Caller | None = None
    global_request_id: str | None = None
    traceparent: str | None = None
    deadline: int | None = None
