"""The Helm chart: what it sets is what a gateway has; rendered and linted where `helm` is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.__main__ import parser
from gateway.config import ENV_PREFIX, Settings
from gateway.config_loading import load
from gateway.shared.settings import NatsSettings
from gateway.workers import fleet
from tests.conftest import REPOSITORY

CHART = REPOSITORY / "docker" / "helm" / "callscreen"
TEMPLATES = {file.name: file.read_text() for file in sorted((CHART / "templates").iterdir())}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
HELM = shutil.which("helm")
rendered = pytest.mark.skipif(HELM is None, reason="helm is not installed")
EVERYTHING = """
replicas: 3
auth: {token: 'a "quoted" token'}
policy: "[default]\\nalert_p = 0.97\\n"
tls: {secretName: gateway-tls}
nats: {url: "nats://nats:4222", tokenSecret: nats}
verifiers: {replicas: 2}
ingress: {enabled: true, className: nginx, host: calls.example.com, tlsSecretName: calls-tls}
telephony: {enabled: true, audiosocket: 9092, rtp: [10000, 10003]}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
prometheusRule: {enabled: true}
env: [{name: CALLSCREEN_PUBLIC_URL, value: "https://calls.example.com"}]
journal: {storageClassName: fast}
"""


def names(values: dict[str, Any], before: str = "") -> set[str]:
    """Return the dotted name of each value that has no further ones below it."""
    return {
        name
        for key, value in values.items()
        for name in (names(value, f"{before}{key}.") if isinstance(value, dict) and value else {before + key})
    }


def test_every_value_is_used_and_every_used_value_is_there() -> None:
    used = {name for text in TEMPLATES.values() for name in re.findall(r"\.Values\.([A-Za-z.]+)", text)}
    known = names(VALUES)
    assert {name for name in used if not any(one == name or one.startswith(f"{name}.") for one in known)} == set()
    assert {name for name in known if not any(name == one or name.startswith(f"{one}.") for one in used)} == set()


def test_the_settings_are_those_of_a_gateway(tmp_path: Path) -> None:
    file = tmp_path / "callscreen.toml"
    file.write_text(VALUES["config"])
    assert load(file, environ={}).max_calls == tomllib.loads(VALUES["config"])["max_calls"]
    variables = set(re.findall(rf"\b{ENV_PREFIX}([A-Z_]+)", "".join(TEMPLATES.values())))
    assert {name.lower() for name in variables} <= set(Settings.model_fields)
    assert {"HOST", "PORT", "JOURNAL", "TOKEN", "NATS", "TLS_CERT", "TLS_KEY", "POLICY"} == variables


def test_a_gateway_has_the_time_to_drain() -> None:
    assert VALUES["terminationGracePeriodSeconds"] >= fleet.DRAIN_S + 5 + fleet.END_S


def test_its_version_is_that_of_the_project_and_its_alerts_are_the_projects() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project["version"]
    alerts = CHART / "files" / "alerts.yml"
    assert alerts.samefile(REPOSITORY / "docker" / "prometheus" / "alerts.yml")
    assert '.Files.Get "files/alerts.yml"' in TEMPLATES["monitoring.yaml"]


def helm(*arguments: str, values: str = "auth: {token: t}") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [HELM or "", *arguments, str(CHART), "--values", "-"], input=values, capture_output=True, text=True, check=False
    )


@cache
def objects(values: str) -> dict[tuple[str, str], Any]:
    """Return what is rendered, by kind and name."""
    made = helm("template", "calls", values=values)
    assert made.returncode == 0, made.stderr
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(made.stdout) if one}


@rendered
@pytest.mark.parametrize("values", ["auth: {token: t}", EVERYTHING])
def test_helm_finds_no_fault(values: str) -> None:
    linted = helm("lint", "--strict", values=values)
    assert linted.returncode == 0, linted.stdout


@rendered
def test_what_cannot_work_is_refused() -> None:
    assert "auth: expected one of" in helm("template", "calls", values="{}").stderr
    assert "set nats.url" in helm("template", "calls", values="{replicas: 2, auth: {token: t}}").stderr
    assert "set nats.url" in helm("template", "calls", values="{verifiers: {replicas: 1}, auth: {token: t}}").stderr


@rendered
def test_what_is_rendered_is_a_gateway_that_may_do_nothing_else() -> None:
    made = objects(EVERYTHING)
    pod = made["StatefulSet", "calls-callscreen"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz"), ("startupProbe", "/healthz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "http", "scheme": "HTTPS"}
    environ = {one["name"]: one.get("value") for one in container["env"]}
    assert NatsSettings.model_validate_json(environ["CALLSCREEN_NATS"]).servers == ["nats://nats:4222"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    for variable, volume in (("JOURNAL", "journal"), ("POLICY", "policy"), ("TLS_CERT", "tls"), ("TLS_KEY", "tls")):
        assert Path(environ[ENV_PREFIX + variable]).parent == Path(mounts[volume])
    provided = {one["name"] for one in pod["volumes"]} | {"journal"}
    assert mounts.keys() == provided
    assert made["Secret", "calls-callscreen"]["stringData"]["token"] == 'a "quoted" token'
    for number in range(3):
        service = made["Service", f"calls-callscreen-telephony-{number}"]["spec"]
        assert service["selector"]["statefulset.kubernetes.io/pod-name"] == f"calls-callscreen-{number}"
        ports = [(one["protocol"], one["port"]) for one in service["ports"]]
        assert ports == [("UDP", 5060), ("TCP", 5060), ("TCP", 9092), *(("UDP", port) for port in range(10000, 10004))]


@rendered
def test_verifiers_are_a_deployment_that_no_service_of_the_gateways_selects() -> None:
    made = objects(EVERYTHING)
    verifiers, gateways = made["Deployment", "calls-callscreen-verifier"], made["StatefulSet", "calls-callscreen"]
    environs = []
    for workload in (verifiers, gateways):
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        environs.append({one["name"]: one.get("value") for one in container["env"]})
        assert NatsSettings.model_validate_json(environs[-1]["CALLSCREEN_NATS"]).verifier_pool
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels(workload).items()
    (container,) = verifiers["spec"]["template"]["spec"]["containers"]
    assert parser().parse_args(container["args"]).port == 8080
    services = [one["spec"]["selector"] for (kind, _), one in made.items() if kind == "Service"]
    assert services
    assert not any(selector.items() <= labels(verifiers).items() for selector in services)
    assert "verifier_pool" not in str(
        objects(EVERYTHING.replace("verifiers: {replicas: 2}", ""))["StatefulSet", "calls-callscreen"]
    )


def labels(workload: dict[str, Any]) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    return dict(workload["spec"]["template"]["metadata"]["labels"])


@rendered
def test_the_alert_rules_are_those_of_prometheus() -> None:
    rules = yaml.safe_load((REPOSITORY / "docker" / "prometheus" / "alerts.yml").read_text())
    assert objects(EVERYTHING)["PrometheusRule", "calls-callscreen"]["spec"] == rules
