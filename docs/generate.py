"""Reference pages that are made from the code: command line, settings, metrics. Needs no torch."""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module

from prometheus_client import REGISTRY

import gateway
from gateway.__main__ import parser
from gateway.settings_help import all_settings


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


PAGES: dict[str, Callable[[], str]] = {"cli": cli, "settings": settings, "metrics": metrics}
"""By the name in the mark ``<!-- generated: NAME -->`` of a page."""
