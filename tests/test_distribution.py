"""What is built for users holds all that serving, simulating and scoring need, and runs without the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.xdist_group("distribution")  # built once

PACKAGES = ("gateway", "detection", "sim")
IGNORED = shutil.ignore_patterns("__pycache__", "*.sqlite3*", "*.egg-info")
NOT_INSTALLED = ("detection/README.md", "detection/report/", "sim/demo.svg")
"""For readers of the repository."""
BUILD = "from setuptools import build_meta; import sys; getattr(build_meta, sys.argv[1])(sys.argv[2])"
WORKS = """
import sys
sys.path.insert(0, sys.argv[1])
import detection, gateway, gateway.pages, sim
assert all(module.__path__[0].startswith(sys.argv[1]) for module in (detection, gateway, sim))
from gateway.__main__ import main
sys.exit(main(["doctor"]))
"""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[set[str], Path]]:
    """The files of the source distribution, and the wheel built from it, unpacked."""
    try:
        if int(version("setuptools").partition(".")[0]) < 77:
            pytest.skip("this setuptools is too old for the licence fields in pyproject.toml")
    except PackageNotFoundError:
        pytest.skip("setuptools is not installed")
    folder = tmp_path_factory.mktemp("distribution")
    source = folder / "source"
    source.mkdir()
    for path in REPOSITORY.iterdir():
        if path.is_file() and not path.name.endswith(("sqlite3", "sqlite3-lock", "-wal", "-shm")):
            shutil.copy(path, source)
    for name in (*PACKAGES, "docs", "docker", "tests", ".ci", ".github"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=IGNORED)
    subprocess.run([sys.executable, "-c", BUILD, "build_sdist", folder], cwd=source, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    listed = files(unpacked)
    subprocess.run([sys.executable, "-c", BUILD, "build_wheel", folder], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "wheel")
    yield listed, folder / "wheel"
    shutil.rmtree(folder)


def test_the_source_distribution_holds_what_tests_and_docs_need(built: tuple[set[str], Path]) -> None:
    listed, _ = built
    needed = {f"tests/{name}" for name in files(REPOSITORY / "tests") if "__pycache__" not in name}
    needed |= {f"docs/{name}" for name in files(REPOSITORY / "docs") if "__pycache__" not in name}
    needed |= {"Makefile", "constraints.txt", "mkdocs.yml", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", ".ci/run"}
    assert needed - listed == set()


def test_the_wheel_holds_all_of_the_packages(built: tuple[set[str], Path]) -> None:
    _, wheel = built
    for package in PACKAGES:
        here = {f"{package}/{name}" for name in files(REPOSITORY / package) if "__pycache__" not in name}
        wanted = {name for name in here if not name.startswith(NOT_INSTALLED)}
        assert {name for name in files(wheel) if name.startswith(f"{package}/")} == wanted
        assert (wheel / package / "py.typed").exists()


def test_the_wheel_comes_with_its_licences_and_commands(built: tuple[set[str], Path]) -> None:
    _, wheel = built
    (facts,) = wheel.glob("*.dist-info")
    assert files(facts / "licenses") == {
        "LICENSE",
        "detection/weights/LICENSE-distillmos.txt",
        "detection/weights/NOTICE.txt",
        "gateway/pages/uPlot.LICENSE.txt",
    }
    commands = (facts / "entry_points.txt").read_text()
    assert "callscreen = gateway.__main__:main" in commands
    assert "[callscreen.commands]\ndetect = detection.__main__:main\nsim = sim.__main__:main" in commands
    assert {path.name for path in wheel.iterdir()} == {*PACKAGES, facts.name}


def test_the_doctor_of_the_wheel_finds_no_error(built: tuple[set[str], Path], tmp_path: Path) -> None:
    _, wheel = built
    environ = {"CALLSCREEN_PORT": "0", "CALLSCREEN_VERIFIER": "off", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", WORKS, str(wheel)]
    ran = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_model_has_a_line_in_the_notice() -> None:
    weights = REPOSITORY / "detection/weights"
    notice = (weights / "NOTICE.txt").read_text()
    assert not [model.name for model in weights.glob("*.onnx") if model.name not in notice]


def test_the_citation_and_the_changelog_name_the_version() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert f"\n## [{citation['version']}] - {citation['date-released']}\n" in (REPOSITORY / "CHANGELOG.md").read_text()
    assert citation["version"] == version("callscreen")
