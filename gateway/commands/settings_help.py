"""Help texts of all settings, from the settings' JSON schema: for ``serve --help`` and the documentation.  [S]"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.config import ENV_PREFIX, Settings

NAMES = {"doors": "NAME", "rtp": "NAME", "legs": "LEG", "uuids": "UUID"}
"""Placeholder of the operator's key in a table of tables."""


@dataclass(frozen=True, slots=True)
class SettingHelp:
    """The help of one setting."""

    name: str
    """Name in a TOML file, with dots: ``doors.NAME.token``."""
    kind: str
    """The accepted values: ``number, more than 0``."""
    default: str
    """The default in TOML; empty if there is none."""
    description: str
    example: str
    """A line of TOML; empty if the default is example enough."""

    @property
    def variable(self) -> str | None:
        """The environment variable; None for a setting within a table, whose variable holds the whole table."""
        return None if "." in self.name else ENV_PREFIX + self.name.upper()


def all_settings() -> list[SettingHelp]:
    """Return the help of every setting in the order of declaration; settings of a table follow the table."""
    schema = Settings.model_json_schema()
    return list(_Walk(schema["$defs"]).settings("", schema))


def as_text() -> str:
    """Return the help of all settings as text for a terminal."""
    blocks = []
    for setting in all_settings():
        head = f"  {setting.name}" + (f"  ({setting.variable})" if setting.variable else "")
        facts = setting.kind + (f"; default: {setting.default}" if setting.default else "")
        lines = [head, f"      {setting.description}", f"      {facts}"]
        if setting.example:
            lines.append(f"      example: {setting.example}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


class _Walk:
    """Visits the settings and the tables in them; a table shared by several settings is visited once."""

    def __init__(self, models: dict[str, Any]) -> None:
        self._models = models
        self._visited: list[dict[str, Any]] = []

    def settings(self, prefix: str, schema: dict[str, Any]) -> Iterator[SettingHelp]:
        for field, given in schema["properties"].items():
            facts = self._resolved(given)
            yield SettingHelp(
                name=prefix + field,
                kind=_kind(facts),
                default=_default(given.get("default")),
                description=given.get("description", ""),
                example=_example(field, given.get("examples", [])),
            )
            table, mark = self._table(field, facts)
            if table is not None and table not in self._visited:
                self._visited.append(table)
                yield from self.settings(f"{prefix}{field}{mark}.", table)

    def _table(self, field: str, facts: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """Return the table that a setting is or contains, and what stands between both names."""
        if "properties" in facts:
            return facts, ""
        by_pattern = facts.get("patternProperties", {}).values()
        for inner in (facts.get("additionalProperties"), *by_pattern):
            if isinstance(inner, dict) and "properties" in (table := self._resolved(inner)):
                return table, f".{NAMES[field]}"
        if "items" in facts and "properties" in (table := self._resolved(facts["items"])):
            return table, ""
        return None, ""

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema behind references and without the option null."""
        options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
        reference = options[0].get("$ref")
        model: dict[str, Any] = self._models[reference.rpartition("/")[2]] if reference else options[0]
        return model


def _kind(facts: dict[str, Any]) -> str:
    if "enum" in facts:
        return "one of " + ", ".join(facts["enum"])
    match facts.get("type"):
        case "boolean":
            return "true or false"
        case "integer" | "number":
            return ("whole number" if facts["type"] == "integer" else "number") + _range(facts)
        case "array":
            items = facts.get("items") or facts["prefixItems"][0]
            return "list of " + ("tables" if "$ref" in items else _kind(items.get("anyOf", [items])[0]))
        case "object":
            return "table"
    formats = {"password": "secret text", "path": "path of a file", "ipv4network": "network", "uuid": "UUID"}
    return formats.get(facts.get("format", ""), "text")


def _range(facts: dict[str, Any]) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    limits = [f"{word} {facts[key]:.15g}" for key, word in words.items() if key in facts]
    return "".join(f", {limit}" for limit in limits)


def _default(value: Any) -> str:
    return "" if value in (None, [], {}) or isinstance(value, dict) else _toml(value)


def _example(field: str, examples: list[Any]) -> str:
    return f"{field} = {_toml(examples[0])}" if examples else ""


def _toml(value: Any) -> str:
    """Return a value in TOML on one line; strings and numbers are written as in JSON."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
