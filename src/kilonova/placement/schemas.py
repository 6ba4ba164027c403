"""What the requests of Placement must look like, by microversion. Reference: Placement API."""

from kilonova.model.inventory import MOST
from kilonova.placement.microversion import V
from kilonova.web.schema import TEXT, Schema, Schemas, Versioned, always

_NAME = r"[A-Z0-9_]+"
_CLASS_NAME = f"^{_NAME}$"
_CUSTOM = f"^CUSTOM_{_NAME}$"
_UUID: Schema = {"type": "string", "format": "uuid"}
_UUID_KEY = "^[0-9a-fA-F-]{36}$"
_GENERATION: Schema = {"type": "integer"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 255}


def _object(required: list[str], /, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _query(
    properties: dict[str, Schema], *, needs: tuple[str, ...] = (), patterns: dict[str, Schema] | None = None
) -> Schema:
    """Of a query string: each key holds the list of its values."""
    schema = _object(list(needs), **{name: _each(one) for name, one in properties.items()})
    return {**schema, "patternProperties": {key: _each(one) for key, one in (patterns or {}).items()}}


def _each(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _steps(*schemas: tuple[int, Schema]) -> Schemas:
    """Each in force from its microversion to the next one's."""
    ends: list[int | None] = [since - 1 for since, _ in schemas[1:]]
    return [Versioned(schema, since, until) for (since, schema), until in zip(schemas, [*ends, None], strict=True)]


# --- resource providers ------------------------------------------------------------------------------------

_PROVIDER_NAME: Schema = {"type": "string", "maxLength": 200}
_PARENT: Schema = {"anyOf": [_UUID, {"type": "null"}]}
PROVIDER_CREATE = _steps(
    (V(0), _object(["name"], name=_PROVIDER_NAME, uuid=_UUID)),
    (V(14), _object(["name"], name=_PROVIDER_NAME, uuid=_UUID, parent_provider_uuid=_PARENT)),
)
PROVIDER_UPDATE = _steps(
    (V(0), _object(["name"], name=_PROVIDER_NAME)),
    (V(14), _object(["name"], name=_PROVIDER_NAME, parent_provider_uuid=_PARENT)),
)
_BY_NAME: dict[str, Schema] = {"name": TEXT, "uuid": _UUID}
_BY_AGGREGATE = {**_BY_NAME, "member_of": TEXT}
_BY_ROOM = {**_BY_AGGREGATE, "resources": TEXT}
_BY_TREE = {**_BY_ROOM, "in_tree": _UUID}
PROVIDER_LIST = _steps(
    (V(0), _query(_BY_NAME)),
    (V(3), _query(_BY_AGGREGATE)),
    (V(4), _query(_BY_ROOM)),
    (V(14), _query(_BY_TREE)),
    (V(18), _query({**_BY_TREE, "required": TEXT})),
)

# --- inventories -------------------------------------------------------------------------------------------


def _amount(minimum: int) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": MOST}


_INVENTORY = {
    "total": _amount(1),
    "reserved": _amount(0),
    "min_unit": _amount(1),
    "max_unit": _amount(1),
    "step_size": _amount(1),
    "allocation_ratio": {"type": "number", "maximum": 3.40282e38},
    "resource_provider_generation": _GENERATION,
}
INVENTORY_UPDATE = always(_object(["total", "resource_provider_generation"], **_INVENTORY))
INVENTORY_CREATE = always(
    _object(
        ["total", "resource_class"],
        **_INVENTORY,
        resource_class={"type": "string", "pattern": _CLASS_NAME, "maxLength": 255},
    )
)
_BY_CLASS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": _CLASS_NAME, "maxLength": 255},
    "additionalProperties": _object(["total"], **_INVENTORY),
}
_INVENTORIES = _object(
    ["resource_provider_generation", "inventories"],
    resource_provider_generation=_GENERATION,
    inventories=_BY_CLASS,
)
INVENTORIES_REPLACE = always(_INVENTORIES)

# --- aggregates, traits, resource classes ------------------------------------------------------------------

_UUIDS: Schema = {"type": "array", "items": _UUID, "uniqueItems": True, "maxItems": 1000}
AGGREGATES_REPLACE = _steps(
    (V(1), _UUIDS),
    (
        V(19),
        _object(
            ["aggregates", "resource_provider_generation"],
            aggregates=_UUIDS,
            resource_provider_generation=_GENERATION,
        ),
    ),
)
_TRAITS: Schema = {"type": "array", "items": _ID, "maxItems": 1000}
TRAITS_REPLACE = always(
    _object(
        ["traits", "resource_provider_generation"],
        traits=_TRAITS,
        resource_provider_generation=_GENERATION,
    )
)
TRAITS_LIST = always(_query({"name": TEXT, "associated": {"type": "string", "pattern": "^(?i:true|false)$"}}))
CUSTOM_NAME: Schema = {"type": "string", "pattern": _CUSTOM, "maxLength": 255}
RESOURCE_CLASS = always(_object(["name"], name=CUSTOM_NAME))

# --- usages ------------------------------------------------------------------------------------------------

_OF_PROJECT: dict[str, Schema] = {"project_id": _ID, "user_id": _ID}
_CONSUMERS: Schema = {**_ID, "pattern": f"^({_NAME}|all|unknown)$"}
USAGES = _steps(
    (V(9), _query(_OF_PROJECT, needs=("project_id",))),
    (V(38), _query({**_OF_PROJECT, "consumer_type": _CONSUMERS}, needs=("project_id",))),
)

# --- allocations -------------------------------------------------------------------------------------------

_RESOURCES: Schema = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": _CLASS_NAME},
    "additionalProperties": {"type": "integer", "minimum": 1},
}
_OWNER = {"project_id": _ID, "user_id": _ID}
_OWNED = ["project_id", "user_id"]
_LIST: Schema = {
    "type": "array",
    "minItems": 1,
    "items": _object(
        ["resource_provider", "resources"], resource_provider=_object(["uuid"], uuid=_UUID), resources=_RESOURCES
    ),
}


def _by_provider(least: int) -> Schema:
    return {
        "type": "object",
        "minProperties": least,
        "propertyNames": {"pattern": _UUID_KEY},
        "additionalProperties": _object(["resources"], generation=_GENERATION, resources=_RESOURCES),
    }


def _of_consumer(least: int, required: list[str], **more: Schema) -> Schema:
    return _object(["allocations", *_OWNED, *required], allocations=_by_provider(least), **_OWNER, **more)


_CONSUMER_GENERATION: Schema = {"type": ["integer", "null"]}
_MAPPINGS: Schema = {"type": "object", "minProperties": 1, "additionalProperties": {**_UUIDS, "minItems": 1}}
_TYPE: Schema = {**_ID, "pattern": _CLASS_NAME}
_COUNTED = _of_consumer(0, ["consumer_generation"], consumer_generation=_CONSUMER_GENERATION)
_MAPPED = _of_consumer(0, ["consumer_generation"], consumer_generation=_CONSUMER_GENERATION, mappings=_MAPPINGS)
_TYPED = _of_consumer(
    0,
    ["consumer_generation", "consumer_type"],
    consumer_generation=_CONSUMER_GENERATION,
    mappings=_MAPPINGS,
    consumer_type=_TYPE,
)
ALLOCATIONS_PUT = _steps(
    (V(0), _object(["allocations"], allocations=_LIST)),
    (V(8), _object(["allocations", *_OWNED], allocations=_LIST, **_OWNER)),
    (V(12), _of_consumer(1, [])),
    (V(28), _COUNTED),
    (V(34), _MAPPED),
    (V(38), _TYPED),
)


def _by_consumer(schema: Schema, least: int = 1) -> Schema:
    return {
        "type": "object",
        "minProperties": least,
        "propertyNames": {"pattern": _UUID_KEY},
        "additionalProperties": schema,
    }


ALLOCATIONS_POST = _steps(
    (V(13), _by_consumer(_of_consumer(0, []))),
    (V(28), _by_consumer(_COUNTED)),
    (V(34), _by_consumer(_MAPPED)),
    (V(38), _by_consumer(_TYPED)),
)
RESHAPER = _steps(
    *(
        (
            version,
            _object(
                ["inventories", "allocations"],
                inventories=_by_consumer(_INVENTORIES),
                allocations=_by_consumer(schema, 0),
            ),
        )
        for version, schema in ((V(30), _COUNTED), (V(34), _MAPPED), (V(38), _TYPED))
    )
)

# --- allocation candidates ---------------------------------------------------------------------------------

_LIMIT: Schema = {"type": "string", "pattern": "^[1-9][0-9]*$"}
_POLICY: Schema = {"type": "string", "enum": ["none", "isolate"]}
_NUMBERED, _NAMED = "[1-9][0-9]*", "[a-zA-Z0-9_-]{1,64}"


def _grouped(suffix: str, *kinds: str) -> dict[str, Schema]:
    return {f"^{kind}({suffix})?$": TEXT for kind in kinds}


_GRANULAR = ("resources", "required", "member_of")
_WITHIN = (*_GRANULAR, "in_tree")
_ONE_GROUP: dict[str, Schema] = {"resources": TEXT, "limit": _LIMIT}
_OF_ALL: dict[str, Schema] = {"limit": _LIMIT, "group_policy": _POLICY}
_OF_ROOT = {**_OF_ALL, "root_required": TEXT}
CANDIDATES = _steps(
    (V(10), _query({"resources": TEXT}, needs=("resources",))),
    (V(16), _query(_ONE_GROUP, needs=("resources",))),
    (V(17), _query({**_ONE_GROUP, "required": TEXT}, needs=("resources",))),
    (V(21), _query({**_ONE_GROUP, "required": TEXT, "member_of": TEXT}, needs=("resources",))),
    (V(25), _query(_OF_ALL, patterns=_grouped(_NUMBERED, *_GRANULAR))),
    (V(31), _query(_OF_ALL, patterns=_grouped(_NUMBERED, *_WITHIN))),
    (V(33), _query(_OF_ALL, patterns=_grouped(_NAMED, *_WITHIN))),
    (V(35), _query(_OF_ROOT, patterns=_grouped(_NAMED, *_WITHIN))),
    (V(36), _query({**_OF_ROOT, "same_subtree": TEXT}, patterns=_grouped(_NAMED, *_WITHIN))),
)
