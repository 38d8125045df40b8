"""The documentation builds without a warning, and what it shows is true: code, configuration, commands, names."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import policy
from gateway.__main__ import parser
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import EVENT_TYPES
from gateway.config import ENV_PREFIX, Settings
from gateway.config_loading import load
from gateway.ingest.kinds import KINDS
from sim.files import load as load_scenario
from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    title: str
    text: str


BLOCKS = [
    Block(page.relative_to(REPOSITORY).as_posix(), language, title, text)
    for page in PAGES
    for language, title, text in FENCE.findall(page.read_text(encoding="utf-8"))
]


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.language in languages]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=lambda block: f"{block.page}:{block.text[:20]!r}")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the documentation's packages are not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "CALLSCREEN_MAX_CALLS" in (tmp_path / "reference/settings/index.html").read_text()
    assert "callscreen asterisk tap" in (tmp_path / "reference/cli/index.html").read_text()
    assert "<td><code>/v1/events</code></td>" in (tmp_path / "how-to/secure/index.html").read_text()
    assert "callscreen_calls" in (tmp_path / "reference/metrics/index.html").read_text()
    assert "filter_p_synthetic" in (tmp_path / "reference/events/index.html").read_text()
    assert (tmp_path / "reference/contract/asyncapi.json").exists()


def test_the_readme_stays_short() -> None:
    assert len(PAGES[0].read_text().splitlines()) <= 250


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_pages_outside_the_site_lead_to_files(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (REPOSITORY / name).read_text())
    assert not [link for link in links if not (REPOSITORY / link).exists()]


@of("python")
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@of("json")
def test_json_is_json_and_events_keep_the_contract(block: Block) -> None:
    value = json.loads(block.text)
    if "specversion" in value:
        event = CloudEvent.model_validate(value | {"dataschema": "urn:callscreen:events:v1"})
        assert EVENT_TYPES[type(event.data)] == event.type
        assert set(value["data"]) <= set(type(event.data).model_fields)


@of("toml")
def test_toml_is_a_configuration_or_a_scenario(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "page.toml"
    file.write_text(block.text)
    if "callscreen.toml" in block.title:
        load(file, environ={})
    elif "policy.toml" in block.title:
        policy.read(file)
    else:
        assert "[[call]]" in block.text, "expected a title: callscreen.toml, policy.toml, or a scenario"
        load_scenario(str(file))


@of("xml")
def test_xml_is_well_formed(block: Block) -> None:
    ET.fromstring(f"<page>{block.text}</page>")


@of("js")
def test_javascript_is_a_module(block: Block, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    (tmp_path / "block.mjs").write_text(block.text)
    subprocess.run([node, "--check", str(tmp_path / "block.mjs")], check=True)


@of("ini")
def test_lines_of_asterisk_are_sections_or_settings(block: Block) -> None:
    assert block.title, "expected a title: the name of the file"
    lines = [line for line in block.text.splitlines() if line.strip() and not line.startswith(";")]
    assert not [line for line in lines if not re.match(r"\[\w+\]$|\s*\w+ =>? \S", line)]


@pytest.fixture(scope="module")
def command_line() -> argparse.ArgumentParser:
    return parser(whole=True)


@of("sh", "console")
def test_commands_and_their_options_exist(block: Block, command_line: argparse.ArgumentParser) -> None:
    lines = block.text.replace("\\\n", " ").splitlines()
    for line in lines:
        command = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*callscreen (.*)", line)
        if command and "--version" not in line and (block.language == "sh" or line.startswith("$ ")):
            command_line.parse_args(shlex.split(command[1], comments=True))


def test_every_command_has_a_description_an_example_and_words_for_each_option(
    command_line: argparse.ArgumentParser,
) -> None:
    left = [("callscreen", command_line)]
    while left:
        name, command = left.pop()
        assert command.description, name
        assert "callscreen " in (command.epilog or "") or "example" in (command.epilog or ""), name
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                left += [(f"{name} {choice}", further) for choice, further in action.choices.items()]
            else:
                assert action.help, f"{name}: {action.dest}"


def test_environment_variables_exist() -> None:
    named = {name for page in PAGES for name in re.findall(rf"{ENV_PREFIX}([A-Z_]+)", page.read_text())}
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_every_kind_of_endpoint_has_a_row() -> None:
    table = (REPOSITORY / "docs/how-to/attach/index.md").read_text()
    assert not [name for name in KINDS if f"`{name}`" not in table]
