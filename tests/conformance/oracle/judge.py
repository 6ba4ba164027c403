"""Recorded calls held against what Nova says of the operation.

A call is wrong if its answer does not fit the response schema of its microversion, if a body or query that Nova
refuses was not answered with 400, if one that Nova accepts was refused for its shape, if the status is not declared,
or if an operation answered outside its window.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tests.conformance.oracle.operations import Operation, find, first_segments, objection

ALWAYS = {400, 401, 403, 404, 406, 413, 415}
"""What Nova's framework answers by itself, whatever an operation declares."""

SHAPE = "Invalid input for "
"""How our answer begins when the schema refused, and not the handler."""

KNOWN = {
    (
        "GET /os-keypairs/{id}",
        "answer",
    ): "names may hold @ since 2.92, but only the schema of the request was widened",
    ("PUT /servers/{server_id}/tags/{id}", "status"): "201 for a new tag, 204 for one that was there: set in code",
    ("POST /servers/{id}/action addFloatingIp", "status"): "202: set in code, where the declaration says nothing",
    ("POST /servers/{id}/action removeFloatingIp", "status"): "202: set in code, where the declaration says nothing",
    (
        "POST /servers/{id}/action addFixedIp",
        "status",
    ): "a locked server is a 409 that the controller does not expect: 500",
    (
        "POST /servers/{id}/action removeFixedIp",
        "status",
    ): "a locked server is a 409 that the controller does not expect: 500",
    ("POST /os-server-external-events", "status"): "207 if the events were of different luck",
}
"""Where Nova's own answers do not fit what it says, and why."""


@dataclass(frozen=True)
class Violation:
    """What is wrong with one call. ``kind``: answer, accepted, refused, status, window, unknown."""

    operation: str
    version: int
    kind: str
    text: str
    call: str

    @property
    def known(self) -> bool:
        """Whether Nova contradicts itself there."""
        return (self.operation, self.kind) in KNOWN


def operation_of(entry: dict[str, Any]) -> Operation | None:
    """Nova's operation for a recorded call."""
    path = _path(entry["path"])
    sent = entry["sent"]
    action = next(iter(sent)) if path.endswith("/action") and isinstance(sent, dict) and len(sent) == 1 else None
    return find(entry["method"], path, action)


def _path(full: str) -> str:
    path = full.split("?")[0].removeprefix("/v2.1").rstrip("/") or "/"
    segments = path.split("/")
    if len(segments) > 2 and segments[1] not in first_segments() and segments[2] in first_segments():
        path = "/" + "/".join(segments[2:])
    return path


def judge(entry: dict[str, Any]) -> tuple[Operation | None, list[Violation]]:
    """The operation of a recorded call, and what is wrong with its answer."""
    operation = operation_of(entry)
    found = [("unknown", _of_nobody(entry))] if operation is None else list(_complaints(operation, entry))
    name = operation.name if operation else f"{entry['method']} {_path(entry['path'])}"
    call = f"{entry['method']} {entry['path']} at 2.{entry['version']} answered {entry['status']}"
    return operation, [Violation(name, entry["version"], kind, text, call) for kind, text in found if text]


def _of_nobody(entry: dict[str, Any]) -> str | None:
    status = entry["status"]
    return None if 400 <= status < 500 else "Nova has no such operation"


def _complaints(operation: Operation, entry: dict[str, Any]) -> Iterable[tuple[str, str | None]]:
    status, version = entry["status"], entry["version"]
    if status in (401, 413, 415):
        return
    if operation.removed:
        yield "window", None if status in operation.errors(version) else "the operation is dead"
        return
    if not operation.lives_at(version):
        since, until = operation.window
        yield "window", None if status == 404 else f"it exists from 2.{since} to 2.{until}"
        return
    refusal = refused(operation, entry)
    if refusal is not None:
        yield "accepted", None if status == 400 else f"Nova refuses the shape: {refusal}"
        return
    if status == 400:
        text = str(_message(entry["received"]))
        yield "refused", text if text.startswith(SHAPE) else None
    yield "status", _wrong_status(operation, status, version)
    if status < 300:
        yield "answer", _wrong_answer(operation, entry)


def refused(operation: Operation, entry: dict[str, Any]) -> str | None:
    """Why Nova refuses the request for its shape; None if it does not."""
    body = operation.schema("request_body", entry["version"])
    query = operation.schema("request_query", entry["version"])
    if query is not None:
        given = parse_qs(entry.get("query") or entry["path"].partition("?")[2], keep_blank_values=True)
        refusal = objection(query, given, is_body=False)
        if refusal is not None:
            return f"query: {refusal}"
    return objection(body, entry["sent"]) if body is not None else None


def _wrong_status(operation: Operation, status: int, version: int) -> str | None:
    success = operation.success(version)
    if status == success or status in operation.errors(version) or status in ALWAYS:
        return None
    return f"declared are {success} and {sorted(operation.errors(version))}"


def _wrong_answer(operation: Operation, entry: dict[str, Any]) -> str | None:
    schema = operation.schema("response_body", entry["version"])
    if schema is None:
        return None
    return objection(schema, entry["received"])


def _message(received: Any) -> Any:
    if not isinstance(received, dict) or not received:
        return None
    fault = next(iter(received.values()))
    return fault.get("message") if isinstance(fault, dict) else None
