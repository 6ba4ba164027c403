"""The service catalog: where each service answers. Data handed in, rendered for a base URL.

Ids are derived from the service types, so that every API process shows the same ones without storing any.
"""

from typing import Any
from uuid import UUID, uuid5

import msgspec

_NAMESPACE = UUID("8ec5bd2c-6a52-5a3c-93c5-3a3f4f3a4f5e")
INTERFACES = ("public", "internal", "admin")


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One service: OpenStack's type, a name, and its path below the deployment's base URL."""

    type: str
    name: str
    path: str

    @property
    def service_id(self) -> str:
        """32 hex digits that stay the same for ever."""
        return _identifier("service", self.type)

    def endpoint_id(self, interface: str) -> str:
        """The id of one of the three endpoints."""
        return _identifier("endpoint", self.type, interface)


def standard_catalog(*, placement: bool = False, volume: bool = False) -> tuple[CatalogEntry, ...]:
    """The embedded services; placement and volume only where they exist."""
    entries = [
        CatalogEntry(type="identity", name="keystone", path="/identity"),
        CatalogEntry(type="compute", name="nova", path="/compute/v2.1"),
        CatalogEntry(type="image", name="glance", path="/image"),
        CatalogEntry(type="network", name="neutron", path="/network"),
    ]
    if placement:
        entries.append(CatalogEntry(type="placement", name="placement", path="/placement"))
    if volume:
        entries.append(CatalogEntry(type="block-storage", name="cinder", path="/volume/v3"))
        entries.append(CatalogEntry(type="volumev3", name="cinderv3", path="/volume/v3"))
    return tuple(entries)


def render(entries: tuple[CatalogEntry, ...], base: str, region: str) -> list[dict[str, Any]]:
    """The catalog as a token carries it. ``base`` is scheme, host and port, without a final slash."""
    return [
        {
            "id": entry.service_id,
            "type": entry.type,
            "name": entry.name,
            "endpoints": [
                {
                    "id": entry.endpoint_id(interface),
                    "interface": interface,
                    "region": region,
                    "region_id": region,
                    "url": base + entry.path,
                }
                for interface in INTERFACES
            ],
        }
        for entry in entries
    ]


def services(entries: tuple[CatalogEntry, ...]) -> list[dict[str, Any]]:
    """``GET /v3/services``."""
    return [
        {"id": entry.service_id, "type": entry.type, "name": entry.name, "description": "", "enabled": True}
        for entry in entries
    ]


def endpoints(entries: tuple[CatalogEntry, ...], base: str, region: str) -> list[dict[str, Any]]:
    """``GET /v3/endpoints``."""
    return [
        {
            "id": entry.endpoint_id(interface),
            "service_id": entry.service_id,
            "interface": interface,
            "region": region,
            "region_id": region,
            "url": base + entry.path,
            "enabled": True,
        }
        for entry in entries
        for interface in INTERFACES
    ]


def _identifier(*parts: str) -> str:
    return uuid5(_NAMESPACE, "/".join(parts)).hex
