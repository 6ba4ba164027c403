"""Which microversion a call speaks: headers in, headers out (Compute API guide, "Microversions")."""

import re
from collections.abc import Mapping

from kilonova.model.errors import Invalid, KilonovaError

MINIMUM = 1
MAXIMUM = 104
_FORM = re.compile(r"^([1-9]\d*)\.([1-9]\d*|0)$")


class NotAcceptable(KilonovaError):
    """A microversion outside the window we speak: 406."""

    status = 406


def negotiate(headers: Mapping[str, str]) -> int:
    """The minor asked for: 1 without a header. Raises ``Invalid`` for nonsense, ``NotAcceptable`` outside the window."""
    asked = _asked(headers)
    if asked is None:
        return MINIMUM
    if asked == "latest":
        return MAXIMUM
    match = _FORM.match(asked)
    if match is None:
        raise Invalid(f"API Version String {asked[:64]} is of invalid format. Must be of format MajorNum.MinorNum.")
    major, minor = int(match[1]), int(match[2])
    if major != 2 or not MINIMUM <= minor <= MAXIMUM:
        raise NotAcceptable(
            f"Version {asked[:64]} is not supported by the API. Minimum is 2.{MINIMUM} and maximum is 2.{MAXIMUM}."
        )
    return minor


def _asked(headers: Mapping[str, str]) -> str | None:
    for part in headers.get("openstack-api-version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service.lower() == "compute":
            return version.strip()
    legacy = headers.get("x-openstack-nova-api-version")
    return legacy.strip() if legacy else None


def answer_headers(version: int) -> dict[str, str]:
    """What every answer says about the version it was given in."""
    spoken = f"2.{version or MINIMUM}"
    return {
        "openstack-api-version": f"compute {spoken}",
        "x-openstack-nova-api-version": spoken,
        "vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    }
