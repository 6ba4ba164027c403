"""Errors in the form OpenStack's clients expect, one form for each service family.

Each ``FaultFormat`` turns (status, message, the failure's own name or "") into the JSON body of its service. Names of compute's
faults follow the API guide ("Faults"); identity, image, network and placement have their own shapes.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

FaultFormat = Callable[[int, str, str], dict[str, Any]]

_COMPUTE_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def compute_fault(status: int, message: str, name: str = "") -> dict[str, Any]:
    """``{"itemNotFound": {"code": 404, "message": "…"}}``"""
    return {_COMPUTE_NAMES.get(status, "computeFault"): {"code": status, "message": message}}


def identity_fault(status: int, message: str, name: str = "") -> dict[str, Any]:
    """``{"error": {"code": 404, "title": "Not Found", "message": "…"}}``; also what a missing token gets."""
    return {"error": {"code": status, "title": HTTPStatus(status).phrase, "message": message}}


def image_fault(status: int, message: str, name: str = "") -> dict[str, Any]:
    """Glance sends a page; clients only look for ``message`` when it is JSON."""
    return {"code": f"{status} {HTTPStatus(status).phrase}", "title": HTTPStatus(status).phrase, "message": message}


_NETWORK_TYPES = {400: "BadRequest", 403: "PolicyNotAuthorized", 404: "HTTPNotFound", 409: "Conflict"}


def network_fault(status: int, message: str, name: str = "") -> dict[str, Any]:
    """``{"NeutronError": {"type": "…", "message": "…", "detail": ""}}``"""
    return {
        "NeutronError": {"type": name or _NETWORK_TYPES.get(status, "HTTPError"), "message": message, "detail": ""}
    }


def placement_fault(status: int, message: str, name: str = "") -> dict[str, Any]:
    """``{"errors": [{"status": 404, "title": "Not Found", "detail": "…", "code": "placement.undefined_code"}]}``"""
    title = HTTPStatus(status).phrase
    error = {"status": status, "title": title, "detail": message, "code": name or "placement.undefined_code"}
    return {"errors": [error]}
