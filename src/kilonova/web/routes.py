"""The one route table: everything that is known of an operation stands in its row.

From the table come routing, validation, policy checks, the API report and the OpenAPI document; nothing about an
operation is said elsewhere.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from kilonova.web.call import Call, Reply
from kilonova.web.schema import Schemas

Handler = Callable[[Any, Call], Awaitable[Reply]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation.

    ``path`` has ``{names}`` for its variable segments; ``action`` is the one key of the body on ``…/action``
    routes. ``rule`` is the policy's name and ``role`` its default; ``since``/``until`` the window of minors in
    which it exists; ``gone`` routes answer 410 for ever. ``streams`` routes read their body as it comes.
    """

    method: str
    path: str
    handler: Handler
    rule: str
    role: str
    action: str | None = None
    since: int = 1
    until: int | None = None
    body: Schemas = ()
    query: Schemas = ()
    streams: bool = False
    summary: str = ""

    def lives_at(self, version: int) -> bool:
        """Whether the operation exists at 2.``version``; services without microversions ask with 0."""
        return version == 0 or (self.since <= version and (self.until is None or version <= self.until))


class _Node:
    __slots__ = ("literal", "operations", "parameter")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.operations: dict[tuple[str, str | None], list[tuple[Route, list[str]]]] = {}


class RouteTable:
    """The rows, and the way from a path to them: one step per segment, literals before variables."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        names: list[str] = []
        for segment in _segments(route.path):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment, _Node())
        node.operations.setdefault((route.method, route.action), []).append((route, names))

    @property
    def first_segments(self) -> frozenset[str]:
        """What a path can begin with; anything else may be a project id."""
        return frozenset(self._root.literal)

    def find(self, path: str) -> "Match | None":
        """The operations on a path, or None if it is nobody's."""
        return self._walk(self._root, _segments(path), 0, [])

    def _walk(self, node: _Node, segments: list[str], at: int, values: list[str]) -> "Match | None":
        if at == len(segments):
            return Match(node.operations, values) if node.operations else None
        following = node.literal.get(segments[at])
        if following is not None:
            match = self._walk(following, segments, at + 1, values)
            if match is not None:
                return match
        if node.parameter is not None:
            return self._walk(node.parameter, segments, at + 1, [*values, segments[at]])
        return None


class Match:
    """The operations found on one path, and the values of its variable segments."""

    __slots__ = ("_operations", "_values")

    def __init__(
        self, operations: dict[tuple[str, str | None], list[tuple[Route, list[str]]]], values: list[str]
    ) -> None:
        self._operations = operations
        self._values = values

    @property
    def methods(self) -> list[str]:
        """What may be done on the path at all."""
        return sorted({method for method, _ in self._operations})

    def has_actions(self, method: str) -> bool:
        """Whether the operation is chosen by the body's key."""
        return any(m == method and action is not None for m, action in self._operations)

    def route(self, method: str, action: str | None, version: int) -> tuple[Route, dict[str, str]] | None:
        """The row for a method and body key that lives at ``version``, with the path's values by name."""
        for route, names in self._operations.get((method, action), ()):
            if route.lives_at(version):
                return route, dict(zip(names, self._values, strict=True))
        return None

    def single(self, method: str) -> Route | None:
        """The row for a method where no body key chooses."""
        rows = self._operations.get((method, None))
        return rows[0][0] if rows else None


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]
