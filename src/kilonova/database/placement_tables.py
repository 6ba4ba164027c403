"""The tables of what operators add to hosts by the Placement API. What a host has of itself stands in ``hosts``."""

import sqlalchemy as sa

from kilonova.database.metadata import table
from kilonova.database.types import Moment, Name

resource_classes = table(  # custom ones; the standard ones stand in ``model/inventory.py``
    "resource_classes",
    sa.Column("name", Name, primary_key=True),
    sa.Column("created_at", Moment, nullable=False),
)

traits = table(  # custom ones; the standard ones come from os-traits
    "traits",
    sa.Column("name", Name, primary_key=True),
    sa.Column("created_at", Moment, nullable=False),
)

host_traits = table(  # what an operator says of a host, beside what follows from its capabilities
    "host_traits",
    sa.Column("host", Name, primary_key=True),
    sa.Column("trait", Name, primary_key=True),
    sa.Index("ix_host_traits_trait", "trait"),
)

host_inventories = table(  # what an operator says a host has of other classes than cores, memory and disk
    "host_inventories",
    sa.Column("host", Name, primary_key=True),
    sa.Column("resource_class", Name, primary_key=True),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("reserved", sa.Integer, nullable=False),
    sa.Column("min_unit", sa.Integer, nullable=False),
    sa.Column("max_unit", sa.Integer, nullable=False),
    sa.Column("step_size", sa.Integer, nullable=False),
    sa.Column("allocation_ratio", sa.Double, nullable=False),
    # As in ``hosts``: what may be claimed in all, so that a claim is one comparison.
    sa.Column("capacity", sa.Integer, nullable=False),
    sa.Column("used", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_host_inventories_class", "resource_class"),
)
