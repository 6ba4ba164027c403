"""What the handlers of the Compute API work with, handed to each of them as its first argument."""

import msgspec

from kilonova.config import Config
from kilonova.database.connection import Database
from kilonova.image.protocol import ImageService
from kilonova.messaging.bus import Bus
from kilonova.model.clock import Clock, Ids, Random
from kilonova.network.protocol import NetworkService


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The cloud as nova-api sees it. ``host`` is the name of the machine nova-api runs on."""

    config: Config
    database: Database
    bus: Bus
    images: ImageService
    networks: NetworkService
    clock: Clock
    ids: Ids
    random: Random
    host: str
