"""The embedded Placement: what its handlers work with."""

import msgspec

from kilonova.database.connection import Database
from kilonova.model.clock import Clock, Ids


class EmbeddedPlacement(msgspec.Struct, frozen=True, kw_only=True):
    """Owns the custom traits and resource classes and what operators add to hosts; everything else is a view on the ledger."""

    database: Database
    clock: Clock
    ids: Ids
