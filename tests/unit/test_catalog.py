"""The catalog: complete, stable, and only what exists."""

from kilonova.identity.catalog import endpoints, render, services, standard_catalog


def test_ids_are_the_same_in_every_process() -> None:
    first = services(standard_catalog())
    assert first == services(standard_catalog())
    assert len({entry["id"] for entry in first}) == 4


def test_optional_services_appear_only_when_they_exist() -> None:
    types = [entry.type for entry in standard_catalog(placement=True, volume=True)]
    assert types == ["identity", "compute", "image", "network", "placement", "block-storage", "volumev3"]
    assert "placement" not in [entry.type for entry in standard_catalog()]


def test_endpoints_agree_with_the_catalog() -> None:
    entries = standard_catalog()
    rendered = render(entries, "http://a", "R")
    listed = endpoints(entries, "http://a", "R")
    assert {e["id"] for entry in rendered for e in entry["endpoints"]} == {e["id"] for e in listed}
    assert rendered[1]["endpoints"][0]["url"] == "http://a/compute/v2.1"
