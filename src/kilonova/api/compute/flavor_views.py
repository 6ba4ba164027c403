"""A flavor as each microversion shows it. Pure."""

from typing import Any

from kilonova.api.compute.links import resource_links
from kilonova.api.compute.rules import FLAVOR_EXTRA_SPECS
from kilonova.model.flavor import Flavor
from kilonova.web.call import Call


def summary(call: Call, flavor: Flavor) -> dict[str, Any]:
    """An entry of the short list."""
    view: dict[str, Any] = {
        "id": flavor.id,
        "name": flavor.name,
        "links": resource_links(call, "flavors", flavor.id),
    }
    if call.version >= 55:
        view["description"] = flavor.description
    return view


def detail(call: Call, flavor: Flavor) -> dict[str, Any]:
    """The whole of it: description from 2.55, extra specs from 2.61, a number for no swap from 2.75."""
    view = summary(call, flavor) | {
        "ram": flavor.memory_mb,
        "disk": flavor.disk_gb,
        "vcpus": flavor.vcpus,
        "swap": flavor.swap_mb if flavor.swap_mb or call.version >= 75 else "",
        "OS-FLV-EXT-DATA:ephemeral": flavor.ephemeral_gb,
        "os-flavor-access:is_public": flavor.is_public,
    }
    if call.version < 102:
        view["OS-FLV-DISABLED:disabled"] = flavor.disabled
        view["rxtx_factor"] = flavor.rxtx_factor
    if call.version >= 61 and call.allows(FLAVOR_EXTRA_SPECS):
        view["extra_specs"] = flavor.extra_specs
    return view
