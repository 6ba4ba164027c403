"""From an ASGI scope to a handler and back: the path every call takes, for every service here.

Order, as a client of OpenStack meets it: size, token (401), microversion (400, 406), route (404, 405), JSON (400,
415), schema (400), policy (403), handler. Whatever fails on the way becomes a fault in the service's own form, with
the request id; what nobody expected becomes a 500 that says only where to look.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
import structlog

from kilonova.model.clock import Clock, Ids
from kilonova.model.context import Caller, RequestContext
from kilonova.model.errors import Invalid, KilonovaError, NotFound, TooLarge, Unauthenticated
from kilonova.web.call import Call, Reply, Upload
from kilonova.web.faults import FaultFormat, identity_fault
from kilonova.web.policy import NOBODY_NEEDED, Policy
from kilonova.web.routes import Match, Route, RouteTable
from kilonova.web.schema import validate

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class TokenValidator(Protocol):
    """Knows who is behind a token. The embedded identity service and a Keystone client both are one."""

    async def validate(self, token: str) -> Caller:
        """The caller. Raises ``Unauthenticated`` for a token that is forged, expired or revoked."""
        ...


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a service's API its own: the name, the form of its faults, how a path is prepared, what headers it
    adds.

    ``negotiate`` reads the microversion (a minor) from the headers or raises; None: the service has none.
    ``sign`` adds to a fault what only the call knows: its microversion, its request id.
    ``prepare`` may rewrite the path (project ids in it) once the caller is known; ``answer_headers`` go with every
    answer.
    """

    name: str
    fault: FaultFormat
    sign: Callable[[dict[str, Any], Call, str], None] | None = None
    request_id_headers: tuple[str, ...] = ("x-openstack-request-id",)
    negotiate: Callable[[MutableMapping[str, str]], int] | None = None
    prepare: Callable[[Call, RouteTable], str] | None = None
    answer_headers: Callable[[int], dict[str, str]] | None = None
    body_limit: int = 114_688
    upload_limit: int = 1 << 40


class Application:
    """One service's HTTP API: a route table and the thing its handlers work with."""

    def __init__(
        self,
        family: Family,
        table: RouteTable,
        deps: Any,
        *,
        tokens: TokenValidator,
        policy: Policy,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self.family = family
        self.table = table
        self._deps = deps
        self._tokens = tokens
        self._policy = policy
        self._clock = clock
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request_id = self._ids.request_id()
        call = self._new_call(scope, request_id)
        try:
            reply = await self._answer(call, receive)
        except KilonovaError as error:
            reply = self._fault(error, call, request_id)
        except Exception:
            log.exception("unexpected error", request_id=request_id, method=call.method, path=call.path)
            reply = Reply(500, self._form(500, _unexpected(request_id), "", call, request_id))
        await self._send(call, reply, request_id, send)

    def _new_call(self, scope: Scope, request_id: str) -> Call:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        root: str = scope.get("root_path", "")
        path: str = scope["path"]
        scheme = headers.get("x-forwarded-proto", scope.get("scheme", "http"))
        host = headers.get("host") or ":".join(str(part) for part in scope.get("server") or ("localhost",))
        call = Call(
            method=scope["method"],
            path=path[len(root) :] if path.startswith(root) else path,
            headers=headers,
            base_url=f"{scheme}://{host}{root}",
            context=RequestContext(
                request_id=request_id,
                global_request_id=_global_id(headers.get("x-openstack-request-id")),
                traceparent=headers.get("traceparent"),
            ),
            started_at=self._clock.now(),
        )
        raw = scope.get("query_string", b"")
        if raw:
            call.query = parse_qs(raw.decode("latin-1"), keep_blank_values=True)
        call.policy = self._policy
        return call

    async def _answer(self, call: Call, receive: Receive) -> Reply:
        if "\x00" in call.path or any("\x00" in value for values in call.query.values() for value in values):
            raise Invalid("The URL holds a NUL character.")  # PostgreSQL's text cannot, and no name here may
        open_route = self._open_route(call)
        if open_route is None:
            await self._authenticate(call)
        elif self.family.negotiate is not None:
            call.version = 1  # version documents stand above versions: a bad header must not hide them
        if self.family.negotiate is not None and open_route is None:
            call.version = self.family.negotiate(dict(call.headers))
        if self.family.prepare is not None and call.context.caller is not None:
            call.path = self.family.prepare(call, self.table)
        route = await self._route(call, receive)
        if route.query:
            validate(route.query, call.query, call.version, "query parameters")
        if route.body and not route.streams:
            validate(route.body, call.body, call.version, "the request body")
        if route.role != NOBODY_NEEDED:
            self._policy.require(route.rule, call.caller)
        return await route.handler(self._deps, call)

    def _open_route(self, call: Call) -> Route | None:
        match = self.table.find(call.path)
        route = match.single(call.method) if match else None
        return route if route is not None and route.role == NOBODY_NEEDED else None

    async def _authenticate(self, call: Call) -> None:
        token = call.headers.get("x-auth-token")
        if not token:
            raise Unauthenticated("The request you have made requires authentication.")
        caller = await self._tokens.validate(token)
        call.context = msgspec.structs.replace(call.context, caller=caller)

    async def _route(self, call: Call, receive: Receive) -> Route:
        match = self.table.find(call.path)
        if match is None:
            raise NotFound("The resource could not be found.")
        if call.method not in match.methods:
            raise MethodNotAllowed(match.methods)
        action: str | None = None
        if match.has_actions(call.method):
            call.body = await self._read_json(call, receive)
            action = _action_key(call.body)
        found = match.route(call.method, action, call.version)
        if found is None:
            if action is not None:
                raise _unknown_action(match, call, action)
            raise NotFound("The resource could not be found.")
        route, call.params = found
        if route.streams:
            call.upload = Upload(receive, self.family.upload_limit)
        elif action is None and (route.body or call.method in ("POST", "PUT", "PATCH")):
            call.body = await self._read_json(call, receive)
        return route

    async def _read_json(self, call: Call, receive: Receive) -> Any:
        data = await self._read(call, receive)
        if not data:
            return None
        media = call.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json") and not media.endswith("-json-patch"):
            raise UnsupportedMedia("Unsupported Content-Type")
        try:
            return _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Invalid("Malformed request body: it is not a JSON document.") from None

    async def _read(self, call: Call, receive: Receive) -> bytes:
        declared = call.headers.get("content-length", "0")
        limit = self.family.body_limit
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge("Request is too large.")
        data = b""
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Invalid("The request ended before its last byte.")
            piece: bytes = event.get("body", b"")
            data += piece
            if len(data) > limit:
                raise TooLarge("Request is too large.")
            if not event.get("more_body"):
                return data

    def _form(self, status: int, message: str, name: str, call: Call, request_id: str) -> dict[str, Any]:
        body = self.family.fault(status, message, name)
        if self.family.sign is not None:
            self.family.sign(body, call, request_id)
        return body

    def _fault(self, error: KilonovaError, call: Call, request_id: str) -> Reply:
        status = error.status
        headers: dict[str, str] = dict(getattr(error, "headers", {}))
        if status == 401:
            headers["www-authenticate"] = "Keystone"
            return Reply(401, identity_fault(401, error.message), headers)
        if status == 413:
            headers["retry-after"] = "0"
        if status >= 500:
            log.warning(
                "request failed", request_id=request_id, status=status, error=error.message, details=error.details
            )
        return Reply(status, self._form(status, error.message, error.name, call, request_id), headers)

    async def _send(self, call: Call, reply: Reply, request_id: str, send: Send) -> None:
        headers = [(name.encode("latin-1"), request_id.encode()) for name in self.family.request_id_headers]
        if self.family.answer_headers is not None:
            headers += [(n.encode(), v.encode()) for n, v in self.family.answer_headers(call.version).items()]
        headers += [(name.encode("latin-1"), value.encode("utf-8")) for name, value in reply.headers.items()]
        if reply.body is not None:
            headers.append((b"content-type", reply.media_type.encode()))
        if isinstance(reply.body, AsyncIterator):
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            async for piece in reply.body:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else _encode(reply.body)
        if reply.status != 204:
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else body})


class MethodNotAllowed(KilonovaError):
    """The path exists, the method does not: 405 with ``Allow``."""

    status = 405

    def __init__(self, methods: list[str]) -> None:
        super().__init__("The method specified is not allowed for this resource.")
        self.headers = {"allow": ", ".join(methods)}


class UnsupportedMedia(KilonovaError):
    """A body that is not JSON where JSON is asked for: 415."""

    status = 415


def _action_key(body: Any) -> str:
    if not isinstance(body, dict):
        raise Invalid("Malformed request body: an object with the action's name as its one key is needed.")
    if len(body) != 1:
        raise Invalid("The request body must contain exactly one action.")
    action: str = next(iter(body))
    return action


def _unknown_action(match: Match, call: Call, action: str) -> KilonovaError:
    """400 for a word that is no action; 404 for an action that does not exist at this microversion."""
    known = any(match.route(call.method, action, version) for version in range(1, 200))
    if known:
        return NotFound("The resource could not be found.")
    return Invalid(f"There is no such action: {action[:64]}")


def _global_id(header: str | None) -> str | None:
    if header is None or not header.startswith("req-") or len(header) != 40:
        return None
    return header


def _unexpected(request_id: str) -> str:
    return f"Unexpected error. The log of nova-api tells more under {request_id}."
