"""What Placement says of itself."""

from kilonova.placement.answers import answered
from kilonova.placement.microversion import MAXIMUM, MINIMUM, negotiate, written
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply


async def show_version(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /``: needs no token, and is asked at a microversion like everything else."""
    call.version = negotiate(call.headers)
    document = {
        "id": f"v{written(MINIMUM)}",
        "min_version": written(MINIMUM),
        "max_version": written(MAXIMUM),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return answered(call, {"versions": [document]})
