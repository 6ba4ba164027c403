"""Placement 1.0 to 1.39: the ledger in Placement's words. See ``docs/decisions/0060-placement.md``."""

from kilonova.placement.routes import application, routes
from kilonova.placement.service import EmbeddedPlacement

__all__ = ["EmbeddedPlacement", "application", "routes"]
