"""Network v2.0: the embedded service. See ``docs/decisions/0032-network.md``."""

from kilonova.network.routes import application, routes
from kilonova.network.service import EmbeddedNetworks
from kilonova.network.settings import NetworkSettings
from kilonova.network.shared import SHARED, SHARED_NETWORK_ID, SHARED_SUBNET_ID

__all__ = [
    "SHARED",
    "SHARED_NETWORK_ID",
    "SHARED_SUBNET_ID",
    "EmbeddedNetworks",
    "NetworkSettings",
    "application",
    "routes",
]
