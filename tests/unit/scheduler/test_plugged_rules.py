"""Rules of one's own: the example of docs/scheduling.md, installed as an entry point, as anybody would."""

import configparser
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilonova.config import SchedulerConfig
from kilonova.model.errors import Misconfigured
from kilonova.scheduler.catalog import FILTERS, WEIGHERS, make_filters, make_weighers
from kilonova.scheduler.multipliers import multiplier_key
from kilonova.scheduler.ranking import Ranking
from tests.unit.scheduler.fleets import Group, Host, fleet_of, request_of

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "scheduling.md").read_text()
HOSTS = [Host(name="a"), Host(name="b"), Host(name="c")]
GROUPS = [
    Group(hosts=("a", "b"), metadata={"quay": "north"}),
    Group(hosts=("b",), metadata={"sea_distance": "10"}),
    Group(hosts=("c",), metadata={"sea_distance": "1"}),
]
OPTIONS = SchedulerConfig(filters=["ComputeFilter", "QuayFilter"], weighers={"CloseToTheSeaWeigher": 2.0})


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the document, laid out as an installer leaves it."""
    project = tomllib.loads(block("toml"))["project"]
    (tmp_path / "harbour_rules.py").write_text(block("python"))
    record = tmp_path / f"harbour_rules-{project['version']}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = configparser.ConfigParser()
    entries.optionxform = str  # type: ignore[assignment,method-assign]
    entries.read_dict(project["entry-points"])
    with (record / "entry_points.txt").open("w") as out:
        entries.write(out)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("harbour_rules", None)


def test_without_the_package_the_names_are_unknown() -> None:
    with pytest.raises(Misconfigured, match="QuayFilter"):
        make_filters(OPTIONS.filters, OPTIONS)
    with pytest.raises(Misconfigured, match="CloseToTheSeaWeigher"):
        make_weighers(OPTIONS)


@pytest.mark.usefixtures("installed")
def test_the_example_of_the_document() -> None:
    view = fleet_of(HOSTS, GROUPS).view
    filters, weighers = make_filters(OPTIONS.filters, OPTIONS), make_weighers(OPTIONS)
    ranking = Ranking(view, request_of(), filters, weighers)
    assert [ranked.host for ranked in ranking.best()] == ["c", "b", "a"]
    assert ranking.best()[0].parts == {"CloseToTheSeaWeigher": 2.0}
    ranking = Ranking(view, request_of(hints={"quay": "north"}), filters, weighers)
    assert [ranked.host for ranked in ranking.best()] == ["b", "a"]
    assert ranking.dropped_by() == {"QuayFilter": 1}
    assert filters["QuayFilter"].explain(view, 2, ranking.request) == ("quay north", "no quay")


def test_every_rule_and_option_is_in_the_document() -> None:
    missing = {name for name in (*FILTERS, *WEIGHERS) if f"`{name}`" not in DOCUMENT}
    missing |= {name for name in WEIGHERS if multiplier_key(name).removesuffix("weight_multiplier") not in DOCUMENT}
    other = {"filters", "weighers", "host_subset_size", "refresh", "concurrency"}
    missing |= {
        option
        for option in SchedulerConfig.model_fields
        if option not in other and f"`{option}" not in DOCUMENT and not option.endswith("_separator")
    }
    assert missing == set()
    for name in SchedulerConfig().filters:
        assert f"**`{name}`**" in DOCUMENT
