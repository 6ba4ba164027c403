"""``kilonova what-if``: how many servers would fit, where, and what stops the next one; whether hosts can be drained."""

import json
import sys
from typing import TYPE_CHECKING, Any

from kilonova.cli.client import Cloud
from kilonova.cli.explain import considered, draw_reasons, draw_table
from kilonova.model.errors import Misconfigured, NotFound
from kilonova.web.schema import is_uuid

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 130  # of what is not a terminal
_SHOWN = 20  # hosts; --json tells all


def hints_of(written: list[str]) -> dict[str, Any]:
    """``key=value`` as hints; a key that is there twice makes a list. Raises ``Misconfigured``."""
    found: dict[str, Any] = {}
    for one in written:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise Misconfigured(f"--hint {one}: write it as key=value")
        if key in found:
            found[key] = [*(found[key] if isinstance(found[key], list) else [found[key]]), value]
        else:
            found[key] = value
    return found


def sizes_of(written: str | None) -> dict[str, int]:
    """``CORES,MIB,GIB`` as what may be claimed of each new host. Raises ``Misconfigured``."""
    if written is None:
        return {}
    numbers = written.split(",")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise Misconfigured(f"--size {written}: write it as CORES,MIB,GIB, like 64,262144,2000")
    return dict(zip(("vcpus", "memory_mb", "disk_gb"), map(int, numbers), strict=True))


def ask(cloud: Cloud, question: dict[str, Any]) -> dict[str, Any]:
    """The API's answer. Raises ``NotFound`` for an image that is not there."""
    if "image" in question:
        question = {**question, "image": _image(cloud, question["image"])}
    answer: dict[str, Any] = cloud.post("kilonova", "/what-if", {"what_if": question})["what_if"]
    return answer


def _image(cloud: Cloud, what: str) -> str:
    if is_uuid(what):
        return what
    found = cloud.get("image", "/v2/images", name=what)["images"]
    if len(found) != 1:
        raise NotFound(f"{len(found) or 'no'} images are called {what}; name one by its id")
    return str(found[0]["id"])


def show(cloud: Cloud, question: dict[str, Any], *, json_output: bool) -> bool:
    """Ask and print; whether all of it would go well."""
    answer = ask(cloud, question)
    if json_output:
        print(json.dumps(answer, indent=2))
    else:
        from rich.console import Console

        console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
        for host in answer.get("drain", []):
            _draw_drain(console, host)
        if "servers" in answer:
            _draw_servers(console, question["flavor"], answer["servers"])
    drained = all(host["can_be_drained"] for host in answer.get("drain", []))
    return drained and answer.get("servers", {}).get("stopped_by") is None


def _draw_servers(console: "Console", flavor: str, told: dict[str, Any]) -> None:
    fits, count, places = told["fits"], told["count"], told["placements"]
    verdict = "all fit" if fits == count else "none fits" if not fits else f"{fits} fit"
    where = f", on {len(places)} {'host' if len(places) == 1 else 'hosts'}" if places else ""
    console.print(f"{count} × {flavor}: {verdict}{where}", style="bold", markup=False)
    if places:
        rows = [[place["host"], place["zone"], str(place["servers"])] for place in places[:_SHOWN]]
        if len(places) > _SHOWN:
            rest = sum(place["servers"] for place in places[_SHOWN:])
            rows.append([f"{len(places) - _SHOWN} more hosts", "", str(rest)])
        draw_table(console, "where", ["host", "zone", "servers"], rows, numbers_from=2)
    if told["stopped_by"] is not None:
        console.print(f"What stops number {fits + 1}: {considered(told['stopped_by'])}", markup=False)
        draw_reasons(console, told["stopped_by"])


def _draw_drain(console: "Console", told: dict[str, Any]) -> None:
    can = "can be drained" if told["can_be_drained"] else "cannot be drained now"
    servers = len(told["servers"])
    number = f"{servers} server{'' if servers == 1 else 's'}"
    console.print(f"{told['host']} {can}: {number} to move", style="bold", markup=False)
    rows = [
        [one["name"], one["id"], one["host"] if one["fits"] else "nowhere: " + considered(one["stopped_by"])]
        for one in told["servers"]
    ]
    rows += [
        [one["name"], one["id"], "its move must be confirmed or reverted first"] for one in told["held_by_moves"]
    ]
    if rows:
        draw_table(console, "servers", ["server", "id", "goes to"], rows)
    stopped = [one for one in told["servers"] if not one["fits"]]
    if stopped:
        console.print(f"What stops {stopped[0]['name']}:", markup=False)
        draw_reasons(console, stopped[0]["stopped_by"])
