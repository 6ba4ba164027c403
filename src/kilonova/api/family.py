"""What makes the Compute API a family of its own: its faults, its headers, its paths."""

from kilonova.api.microversion import answer_headers, negotiate
from kilonova.model.errors import Invalid, NotFound
from kilonova.web.application import Family
from kilonova.web.call import Call
from kilonova.web.faults import compute_fault
from kilonova.web.routes import RouteTable


def prepare(call: Call, table: RouteTable) -> str:
    """Strip the version and, where it is given, the project id from a path (optional since 2.18).

    Raises ``NotFound`` for a path without a version or with an empty last segment, ``Invalid`` for somebody else's
    project id: the token says whose call it is.
    """
    segments = call.path.split("/")  # "", "v2.1", ...
    if len(segments) < 2 or segments[1] not in ("v2.1", "v2"):
        raise NotFound("The resource could not be found.")
    rest = segments[2:]
    if len(rest) > 1 and not rest[-1]:
        raise NotFound("The resource could not be found.")  # the empty name of a thing, not the list of all
    if rest and rest[0] and rest[0] not in table.first_segments:
        if rest[0] == call.caller.project_id:
            rest = rest[1:]
        elif len(rest) > 1 and rest[1] in table.first_segments:
            raise Invalid(
                f"Malformed request URL: URL's project_id '{rest[0][:64]}' doesn't match Context's project_id."
            )
    return "/" + "/".join(rest)


COMPUTE = Family(
    name="compute",
    fault=compute_fault,
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
    negotiate=negotiate,
    prepare=prepare,
    answer_headers=answer_headers,
)
