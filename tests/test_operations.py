"""Dashboards, alert rules and compose files are about metrics, labels, settings and files that there are."""

from __future__ import annotations

import json
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import gateway
from gateway.config import ENV_PREFIX, Settings
from gateway.config_loading import load
from tests.conftest import REPOSITORY

DOCKER = REPOSITORY / "docker"
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
PROMETHEUS_OWN = {"instance", "job", "le"}
MOUNTED = {"/etc/callscreen", "/etc/prometheus", "/etc/grafana/provisioning", "/var/lib/grafana/dashboards"}


def labels_by_metric() -> dict[str, set[str]]:
    """Every time series that a gateway can have, and the labels of each."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith(("__main__", "telemetry")):
            import_module(module.name)
    found: dict[str, set[str]] = {"callscreen_otlp_exports_total": {"signal", "outcome"}}  # of the extra
    for collector in list(REGISTRY._collector_to_names):
        for family in collector.describe() if hasattr(collector, "describe") else ():
            for ending in ENDINGS.get(family.type, ()):
                found[family.name + ending] = set(getattr(collector, "_labelnames", ()))
    return found


def expressions() -> list[str]:
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    dashboard = json.loads((DOCKER / "grafana/dashboards/callscreen.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked = [one["query"]["query"] for one in dashboard["templating"]["list"] if isinstance(one["query"], dict)]
    return [*(rule["expr"] for group in rules["groups"] for rule in group["rules"]), *shown, *asked]


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return labels_by_metric()


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_metrics_and_labels_that_there_are(expression: str, known: dict[str, set[str]]) -> None:
    names = re.findall(r"\bcallscreen_\w+", expression)
    assert names or expression.startswith("up{")
    assert set(names) <= set(known)
    used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        used |= {label.strip() for label in grouped.split(",")}
    assert used - PROMETHEUS_OWN <= set().union(*(known[name] for name in names))


def test_every_alert_has_a_row_in_the_guide() -> None:
    rules = yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())
    guide = (REPOSITORY / "docs/how-to/operate.md").read_text()
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    assert len(names) == len(set(names))
    assert not [name for name in names if f"`{name}`" not in guide]


def test_the_summaries_use_labels_that_the_expression_keeps() -> None:
    for group in yaml.safe_load((DOCKER / "prometheus/alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - {"instance"}
            kept = re.search(r"\bby \(([^)]*)\)", rule["expr"])
            assert not kept or shown <= {label.strip() for label in kept[1].split(",")}, rule["alert"]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.telephony.yaml", "compose.machines.yaml"])
def test_compose_files_mount_and_set_what_there_is(name: str) -> None:
    compose: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source, target, *_ = volume.split(":")
            assert source in compose.get("volumes", ()) or (DOCKER / source).exists(), volume
            assert not source.startswith(".") or any(Path(target).is_relative_to(place) for place in MOUNTED)
        for variable in service.get("environment", ()):
            if variable.startswith(ENV_PREFIX):
                assert variable.removeprefix(ENV_PREFIX).lower() in Settings.model_fields


def test_the_mounted_configurations_are_read_and_their_ports_published() -> None:
    load(DOCKER / "callscreen.toml", environ={}, host="0.0.0.0", token="x" * 24)
    settings = load(DOCKER / "telephony.toml", environ={}, host="0.0.0.0", token="x" * 24)
    assert settings.sip
    assert settings.audiosocket
    first, last = settings.sip.rtp_ports
    wanted = {f"{first}-{last}/udp", f"{settings.rtp['room'].listen.rpartition(':')[2]}/udp"}
    wanted |= {f"{str(settings.sip.udp).rpartition(':')[2]}/udp", f"{str(settings.sip.tcp).rpartition(':')[2]}/tcp"}
    wanted |= {f"{settings.audiosocket.listen.rpartition(':')[2]}/tcp"}
    compose = yaml.safe_load((DOCKER / "compose.telephony.yaml").read_text())
    assert {port.partition(":")[2] for port in compose["services"]["gateway"]["ports"]} == wanted
