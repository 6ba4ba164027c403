"""Which microversion of Placement a call speaks. Reference: Placement API, "Microversions".

Inside, 1.``n`` is the number 100 + ``n`` (``V(17)`` is 1.17), as 0 means a service without microversions.
"""

import re
from collections.abc import Mapping
from typing import Any

from kilonova.model.errors import Invalid, KilonovaError
from kilonova.web.call import Call

_FORM = re.compile(r"^([0-9]{1,9})\.([0-9]{1,9})$")


def V(minor: int) -> int:  # noqa: N802 -- read as a version, not as a call
    """The number of 1.``minor``."""
    return 100 + minor


MINIMUM, MAXIMUM = V(0), V(39)


class NotAcceptable(KilonovaError):
    """A microversion outside the window we speak: 406."""

    status = 406


def negotiate(headers: Mapping[str, str]) -> int:
    """The version asked for: 1.0 without a header. Raises ``Invalid`` for nonsense, ``NotAcceptable`` outside the window."""
    asked = _asked(headers)
    if asked is None:
        return MINIMUM
    if asked == "latest":
        return MAXIMUM
    match = _FORM.match(asked)
    if match is None:
        raise Invalid(f"invalid version string: {asked[:64]}")
    if int(match[1]) != 1 or not MINIMUM <= V(int(match[2])) <= MAXIMUM:
        raise NotAcceptable(f"Unacceptable version header: {asked[:64]}")
    return V(int(match[2]))


def _asked(headers: Mapping[str, str]) -> str | None:
    for part in headers.get("openstack-api-version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service.lower() == "placement":
            return version.strip()
    return None


def written(version: int) -> str:
    """As clients write it; 1.0 where none was negotiated."""
    return f"1.{max(version - MINIMUM, 0)}"


def answer_headers(version: int) -> dict[str, str]:
    """What every answer says about the version it was given in."""
    return {"openstack-api-version": f"placement {written(version)}", "vary": "openstack-api-version"}


def sign(fault: dict[str, Any], call: Call, request_id: str) -> None:
    """Complete a fault: error codes since 1.23, the window we speak for a client that asked for something outside it."""
    (error,) = fault["errors"]
    error["request_id"] = request_id
    if call.version < V(23):
        del error["code"]
    if error["status"] == 406:
        error |= {"min_version": written(MINIMUM), "max_version": written(MAXIMUM)}
