"""Identity v3: the embedded service. See ``docs/decisions/0030-identity.md``."""

from kilonova.identity.bootstrap import Bootstrapped, bootstrap_identity
from kilonova.identity.catalog import CatalogEntry, standard_catalog
from kilonova.identity.routes import application, routes
from kilonova.identity.service import Identity, IdentitySettings, open_identity

__all__ = [
    "Bootstrapped",
    "CatalogEntry",
    "Identity",
    "IdentitySettings",
    "application",
    "bootstrap_identity",
    "open_identity",
    "routes",
    "standard_catalog",
]
