"""Hold recorded answers against the response schemas of an installed Nova. Run by a Python that has Nova:

    KILONOVA_RECORD=answers.jsonl pytest tests/functional
    python tests/conformance/check_schemas.py answers.jsonl

Each line of the recording is one answer: method, path, version (a minor), body sent, status, body received. Prints what
does not fit and ends with 1 if there was any.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from nova.api.openstack.compute import routes
from nova.api.validation import validators  # its import registers OpenStack's formats

assert validators

_HOSTS = "hosts_not_run holds the names of hosts, and the schema takes them for UUIDs"
KNOWN = {  # what Nova itself answers against its own schema
    "GET /os-instance_usage_audit_log 2.1": _HOSTS,
    "GET /os-instance_usage_audit_log/2024-03-31 10:00:00 2.104": _HOSTS,
    "GET /os-instance_usage_audit_log/2024-01-01 00:00:00.5 2.104": _HOSTS,
    "GET /os-keypairs/a@b.c 2.92": "names may hold @ since 2.92, but only the schema of the request was widened",
}


def minor(version: Any, absent: int) -> int:
    """The minor of Nova's version object; ``absent`` for an open end."""
    try:
        return int(version.get_string().split(".")[1])
    except (AttributeError, ValueError):
        return int(version.split(".")[1]) if isinstance(version, str) else absent


def handlers(path: str, method: str, action: str | None) -> Iterator[Any]:
    """What Nova would answer this call with: one function, or several for different versions."""
    for template, methods in sorted(routes.ROUTE_LIST, key=lambda entry: entry[0].count("{")):
        pattern = re.sub(r"{\w+}", "[^/]+", template or "/")
        if method not in methods or not re.fullmatch(pattern, path):
            continue
        factory, name = methods[method]
        for controller in (factory.args[0], *factory.args[1]):
            if name == "action":
                found = [f for f in vars(controller).values() if getattr(f, "wsgi_action", None) == action]
            else:
                found = [m.func for m in getattr(controller, "versioned_methods", {}).get(name, [])]
                found = found or [getattr(controller, name, None)]
            yield from (f for f in found if f is not None)
        return


def schema_for(functions: Iterator[Any], version: int) -> tuple[Any, bool]:
    """The schema in force, from the functions' bindings."""
    for function in functions:
        for schema, lowest, highest in getattr(getattr(function, "response_body_schemas", None), "_schemas", []):
            if minor(lowest, 0) <= version <= minor(highest, 9999):
                return schema, True
    return None, False


def main(recording: str) -> int:
    """Check every answer that went well; count by operation."""
    checked: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for line in Path(recording).read_text().splitlines():
        one = json.loads(line)
        path = one["path"].split("?")[0]
        if one["status"] >= 300 or not path.startswith("/v2.1/"):
            continue
        path = path.removeprefix("/v2.1").rstrip("/")
        sent = one["sent"] if path.endswith("/action") else None
        label = f"{one['method']} {path} 2.{one['version']}"
        schema, known = schema_for(handlers(path, one["method"], next(iter(sent or {}), None)), one["version"])
        if not known:
            unknown[label] += 1
            continue
        checked[label] += 1
        body = one["received"]
        checker = jsonschema.Draft202012Validator(schema or {}, format_checker=jsonschema.FormatChecker())
        errors = [error.message for error in checker.iter_errors(body)] if schema else ([body] if body else [])
        if errors and label not in KNOWN:
            wrong[label] += 1
            sys.stdout.write(f"{label}: {str(errors[0])[:300]}\n")
    for label in sorted(unknown):
        sys.stdout.write(f"no schema: {label}\n")
    sys.stdout.write(
        f"{sum(checked.values())} answers of {len(checked)} calls checked, {sum(wrong.values())} wrong\n"
    )
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
