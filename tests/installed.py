"""Check a built wheel as a user gets it: install it into an empty environment and run it.

    python -m tests.installed dist/callscreen-0.1.0-py3-none-any.whl

Needs a package index. The environment lies in a temporary folder, and commands run outside the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
START_DEADLINE_S = 120.0
PATHS = ("/readyz", "/", "/call", "/asyncapi.json", "/metrics")
"""What a gateway must answer."""


def main(arguments: list[str] | None = None) -> int:
    """Install and run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.installed", description="Install a wheel and run it.")
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args(arguments).wheel.resolve()
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True)
        options = ("--quiet", "--disable-pip-version-check", "--constraint", REPOSITORY / "constraints.txt")
        subprocess.run([environment / "bin/python", "-m", "pip", "install", *options, wheel], check=True)
        size = sum(file.stat().st_size for file in environment.rglob("*") if file.is_file() and not file.is_symlink())
        print(f"environment: {size / 1e6:.0f} MB")
        check(environment / "bin/callscreen", Path(folder))
    print("ok")
    return 0


def check(callscreen: Path, folder: Path) -> None:
    """Run the installed command. Raises CalledProcessError or OSError where something fails."""
    for command in (
        ["--version"],
        ["doctor"],
        ["detect", "score", str(next(folder.rglob("sim/voices/flite_slt/1.ogg")))],
    ):
        print("$ callscreen", *command, flush=True)
        subprocess.run([callscreen, *command], cwd=folder, check=True)
    # On a virtual clock; human voices need Debian's or Ubuntu's package tools.
    print("$ callscreen sim run smoke", flush=True)
    subprocess.run([callscreen, "sim", "run", "smoke", "--report", folder / "report"], cwd=folder, check=True)
    assert (folder / "report/report.json").exists()
    with subprocess.Popen(
        [callscreen, "serve", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as gateway:
        assert gateway.stdout
        try:
            url = gateway.stdout.readline().rpartition(" ")[2].strip()
            for path in PATHS:
                print("GET", path, _get(url + path), "bytes")
        finally:
            gateway.terminate()
    assert gateway.returncode == 0, f"the gateway ended with {gateway.returncode}"


def _get(url: str) -> int:
    """Return the length of an answer, as soon as it is 200. Raises OSError when it never is."""
    ends = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return len(answer.read())
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
