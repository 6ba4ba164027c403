"""What Placement says of itself."""

from kilonova.placement.answers import answered
from kilonova.placement.microversion import MAXIMUM, MINIMUM, written
from kilonova.placement.service import EmbeddedPlacement
from kilonova.web.call import Call, Reply


async def show_version(placement: EmbeddedPlacement, call: Call) -> Reply:
    """``GET /``"""
    document = {
        "id": f"v{written(MINIMUM)}",
        "min_version": written(MINIMUM),
        "max_version": written(MAXIMUM),
        "status": "CURRENT",
        "links": [{"rel": "self", "href": ""}],
    }
    return answered(call, {"versions": [document]})
