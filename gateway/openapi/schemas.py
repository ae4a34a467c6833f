"""JSON schemas of request and response shapes, in the dialect of OpenAPI, and examples built from them."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

SCHEMAS: Final = "#/components/schemas/"


class SchemaComponents:
    """The named schemas of the document's shapes."""

    def __init__(self, shapes: Sequence[Any]) -> None:
        found, components = msgspec.json.schema_components(shapes, ref_template=SCHEMAS + "{name}")
        self._references = dict(zip(map(id, shapes), found, strict=True))
        self.by_name: dict[str, Any] = {name: to_portable_schema(schema) for name, schema in components.items()}

    def reference(self, shape: Any) -> Any:
        return self._references[id(shape)]

    def example(self, schema: dict[str, Any]) -> Any:
        return example_value(schema, self.by_name)


def to_portable_schema(schema: Any) -> Any:
    """Replace `\\Z` at the end of a pattern: OpenAPI patterns are JavaScript's, which has only `$`."""
    if isinstance(schema, dict):
        return {
            key: value.replace("\\Z", "$") if key == "pattern" and isinstance(value, str) else to_portable_schema(value)
            for key, value in schema.items()
        }
    return [to_portable_schema(one) for one in schema] if isinstance(schema, list) else schema


def inline_schema(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Replace a schema's top-level reference by its component; the components' names are the references."""
    reference = schema.get("$ref")
    return {**components[reference], **{k: v for k, v in schema.items() if k != "$ref"}} if reference else dict(schema)


def example_value(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Build an example of a schema from the examples of its fields."""
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return example_value(schemas[schema["$ref"].removeprefix(SCHEMAS)], schemas)
    if "anyOf" in schema:
        return example_value(schema["anyOf"][0], schemas)
    if "allOf" in schema:
        return {name: value for part in schema["allOf"] for name, value in example_value(part, schemas).items()}
    if schema.get("type") == "object":
        return _example_object(schema, schemas)
    if schema.get("type") == "array":
        return [example_value(schema["items"], schemas)] if schema.get("items") else []
    if schema.get("type") == "integer":
        return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    return {"number": 0.5, "boolean": False, "null": None}.get(schema.get("type", ""), "text")


def _example_object(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: example_value(one, schemas)
        for name, one in schema.get("properties", {}).items()
        if name in required or "examples" in one.get("anyOf", [one])[0]
    }
