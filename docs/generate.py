"""Reference pages that are made from the code: command line, settings, metrics, scopes, events. Needs no torch."""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

import gateway
from gateway.__main__ import parser
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import EVENT_TYPES, EventData
from gateway.auth.access import RULES
from gateway.commands.settings_help import all_settings
from gateway.contract.schemas import model_schema


def cli() -> str:
    """Return every command with its usage and options."""
    return "\n".join(_command(parser(whole=True)))


def _command(one: argparse.ArgumentParser) -> Iterator[str]:
    commands = [
        command
        for action in one._actions  # noqa: SLF001  argparse has no public way to look at what was added
        for command in (action.choices.values() if isinstance(action.choices, dict) else ())
        if isinstance(command, argparse.ArgumentParser)
    ]
    epilog, one.epilog = one.epilog, None if one.prog == "callscreen serve" else one.epilog
    yield f"## `{one.prog}`\n\n```text\n{one.format_help()}```\n"
    one.epilog = epilog
    for command in commands:
        yield from _command(command)


def settings() -> str:
    """Return a table of every setting."""
    rows = ["| setting | environment | takes | default | |", "|---|---|---|---|---|"]
    for setting in all_settings():
        variable = f"`{setting.variable}`" if setting.variable else ""
        default = f"`{setting.default}`" if setting.default else ""
        example = f"<br>`{setting.example}`" if setting.example else ""
        cells = (f"`{setting.name}`", variable, setting.kind, default, setting.description + example)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def metrics() -> str:
    """Return a table of every metric of the gateway."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    rows = ["| metric | type | |", "|---|---|---|"]
    for metric in sorted(REGISTRY.collect(), key=lambda metric: metric.name):
        if metric.name.startswith("callscreen_"):
            name = metric.name + ("_total" if metric.type == "counter" else "")
            rows.append(f"| `{name}` | {metric.type} | {metric.documentation} |")
    return "\n".join(rows)


EXAMPLES = Path(__file__).parent.parent / "tests/gateway/contract/v1"
"""Events that a gateway has sent."""
UNITS = {"_s": "s", "_ms": "ms", "_hz": "Hz"}
"""By the end of a field's name."""


def events() -> str:
    """Return the fields of the envelope, those that all events have, and each type of event with an example."""
    common = model_schema(EventData)["properties"]
    parts = ["## Envelope\n", *_fields(model_schema(CloudEvent)["properties"], except_for=("data",))]
    parts += ["\n## Fields of all events\n", "Of all but `gap` and `heartbeat`; null where one does not apply.\n"]
    parts += _fields(common)
    for kind, name in EVENT_TYPES.items():
        schema = model_schema(kind)
        fields = schema["properties"]
        parts += [f"\n## `{name}`\n", schema["description"] + "\n"]
        nullable = (field for field, facts in common.items() if "anyOf" in facts)
        if certain := [f"`{field}`" for field in nullable if "anyOf" not in fields.get(field, common[field])]:
            parts += [f"Never null here: {', '.join(certain)}.\n"]
        parts += _fields(fields, except_for=common if issubclass(kind, EventData) else ())
        example = max(EXAMPLES.glob(f"{name}*.json")).read_text(encoding="utf-8")
        code = ["```json", *example.splitlines(), "```"]
        parts += ['\n??? example "An event"\n', *(f"    {line}" for line in code)]
        parts += [f"\n[JSON Schema](contract/{name}.schema.json)"]
    return "\n".join(parts)


def _fields(fields: dict[str, Any], except_for: Iterable[str] = ()) -> Iterator[str]:
    """Return the rows of a table; none where there is no field."""
    shown = {name: field for name, field in fields.items() if name not in except_for}
    if shown:
        yield from ("| field | type and range | unit | |", "|---|---|---|---|")
    for name, field in shown.items():
        unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
        cells = (f"`{name}`", _type(field), unit, " ".join(field["description"].split()))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: dict[str, Any]) -> str:
    """Return what a field may be, in words."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list: {_type(field['items'])}"
    if field["type"] == "object":
        return f"object of: {_type(field['additionalProperties'])}"
    if "format" in field:
        return str(field["format"])
    low, high = field.get("minimum"), field.get("maximum")
    if "exclusiveMinimum" in field:
        return f"{field['type']} > {field['exclusiveMinimum']:g}"
    if high is not None:
        return f"{field['type']}, {low:g} to {high:g}"
    return f"{field['type']} ≥ {low:g}" if low is not None else str(field["type"])


def scopes() -> str:
    """Return a table of what each part of the API needs."""
    rows = ["| path | scope | |", "|---|---|---|"]
    for rule in RULES:
        path = f"`{rule.path}…`" if rule.path.endswith("/") else f"`{rule.path}`"
        rows.append(f"| {path} | {'(public)' if rule.scope == 'public' else f'`{rule.scope}`'} | {rule.what} |")
    return "\n".join(rows)


PAGES: dict[str, Callable[[], str]] = {
    "cli": cli,
    "settings": settings,
    "metrics": metrics,
    "events": events,
    "scopes": scopes,
}
"""By the name in the mark ``<!-- generated: NAME -->`` of a page."""
