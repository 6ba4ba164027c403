"""Nova's operations: its route table walked, with the window, schemas and status codes bound to each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from nova.api.openstack.compute import routes
from nova.api.validation import validators

NEWEST = 104
DEFAULT_SUCCESS = 200


def minor(version: Any, absent: int) -> int:
    """The minor of one of Nova's versions, ``absent`` for an open end; 2.0, the old API, counts as 0."""
    text = (
        version
        if isinstance(version, str)
        else None
        if version is None or version.is_null()
        else version.get_string()
    )
    return absent if text is None else int(text.split(".")[1])


@dataclass(frozen=True)
class Operation:
    """One operation, and the function that answers it in Nova."""

    method: str
    path: str
    action: str | None
    function: Any

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"{self.method} {self.path}" + (f" {self.action}" if self.action else "")

    @property
    def removed(self) -> bool:
        """Whether it answers nobody any more."""
        return bool(getattr(self.function, "removed", False))

    @property
    def window(self) -> tuple[int, int]:
        """The minors it exists at."""
        since = minor(getattr(self.function, "min_version", None), 1)
        return max(since, 1), minor(getattr(self.function, "max_version", None), NEWEST)

    def lives_at(self, version: int) -> bool:
        since, until = self.window
        return since <= version <= until

    def schema(self, kind: str, version: int) -> dict[str, Any] | None:
        """The schema in force; ``kind`` is request_body, request_query or response_body. None: nothing is said."""
        return next((schema for schema, since, until in self.bindings(kind) if since <= version <= until), None)

    def bindings(self, kind: str) -> list[tuple[dict[str, Any], int, int]]:
        """Every schema with the minors it is in force at; those of the API before 2.1 left out."""
        bound = getattr(getattr(self.function, f"{kind}_schemas", None), "_schemas", [])
        spans = [(schema, max(1, minor(since, 1)), minor(until, NEWEST)) for schema, since, until in bound]
        return [(schema, since, until) for schema, since, until in spans if until >= 1]

    @property
    def bands(self) -> list[int]:
        """The minors at which something about it changes, the first of its window among them."""
        since, until = self.window
        starts = {since}
        for kind in ("request_body", "request_query", "response_body"):
            starts |= {begin for _, begin, _ in self.bindings(kind) if since <= begin <= until}
        return sorted(starts)

    def success(self, version: int) -> int:
        """The status of a good answer."""
        codes = getattr(getattr(self.function, "wsgi_codes", None), "_codes", [])
        for code, since, until in codes:
            if minor(since, 0) <= version <= minor(until, NEWEST):
                return int(code)
        return DEFAULT_SUCCESS

    def errors(self, version: int) -> set[int]:
        """The error statuses declared for a minor."""
        found: set[int] = set()
        for layer in _layers(self.function):
            held = dict(zip(layer.__code__.co_freevars, layer.__closure__ or (), strict=True))
            if "errors" not in held:
                continue
            since, until = (held[name].cell_contents for name in ("min_version", "max_version"))
            if minor(since, 0) <= version <= minor(until, NEWEST):
                declared = held["errors"].cell_contents
                found |= {declared} if isinstance(declared, int) else set(declared)
        return found


def _layers(function: Any) -> Iterator[Any]:
    while function is not None:
        yield getattr(function, "__func__", function)
        function = getattr(function, "__wrapped__", None)


@cache
def operations() -> tuple[Operation, ...]:
    """All of them, the removed ones included; aliases are left out."""
    return tuple(_walk())


def _walk() -> Iterator[Operation]:
    for path, methods in routes.ROUTE_LIST:
        if isinstance(methods, str):
            continue  # a redirection
        for method, (factory, name) in methods.items():
            controllers = (factory.args[0], *factory.args[1])
            if name != "action":
                yield Operation(method, path, None, getattr(controllers[0], name))
                continue
            for controller in controllers:
                for action, attribute in controller.wsgi_actions.items():
                    yield Operation(method, path, action, getattr(controller, attribute))


@cache
def _by_shape() -> dict[tuple[str, int], list[tuple[re.Pattern[str], Operation]]]:
    found: dict[tuple[str, int], list[tuple[re.Pattern[str], Operation]]] = {}
    for operation in sorted(operations(), key=lambda one: one.path.count("{")):
        pattern = re.compile(re.sub(r"{\w+}", "[^/]+", operation.path))
        found.setdefault((operation.method, operation.path.count("/")), []).append((pattern, operation))
    return found


@cache
def first_segments() -> frozenset[str]:
    """What a path can begin with; anything else may be a project's id."""
    return frozenset(operation.path.split("/")[1] for operation in operations())


def find(method: str, path: str, action: str | None) -> Operation | None:
    """Nova's operation for a call; ``path`` is below the version. None: nobody answers it."""
    candidates = _by_shape().get((method, path.count("/")), ())
    found = [operation for pattern, operation in candidates if pattern.fullmatch(path)]
    nearest = [operation for operation in found if operation.path == found[0].path] if found else []
    return next((operation for operation in nearest if operation.action in (action, None)), None)


def objection(schema: dict[str, Any], value: Any, *, is_body: bool = True) -> str | None:
    """Why Nova's own validator refuses a value; None if it does not."""
    known = _validators.get(id(schema))
    if known is None:
        known = schema, validators._SchemaValidator(schema, is_body=is_body).validator
        _validators[id(schema)] = known  # keeps the schema alive, so its id stays its own
    try:
        return next((f"{_place(error)}{error.message[:300]}" for error in known[1].iter_errors(value)), None)
    except (TypeError, UnicodeError) as error:  # a key or a text that Nova's own check cannot take
        return str(error)


_validators: dict[int, tuple[dict[str, Any], Any]] = {}


def _place(error: Any) -> str:
    place = "/".join(str(part) for part in error.absolute_path)
    return f"{place}: " if place else ""
