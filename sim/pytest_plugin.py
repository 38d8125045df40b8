"""pytest plugin: places calls at a gateway, and asserts the expected alerts. pytest loads it automatically.

Fixtures: `gateway`, `place_call`, `play_scenario`, `expect_alert`, `expect_no_alert`. Markers:
``callscreen_gateway(**settings)`` for settings of the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # imported on first use: most tests of a project place no calls
    from sim.clips import Library
    from sim.testing import PlaceCall, PlacedCall

MARKER = "callscreen_gateway"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for gateway and voices."""
    group = parser.getgroup("callscreen")
    group.addoption("--callscreen-gateway", metavar="URL", help="call this gateway over sockets instead of in process")
    group.addoption("--callscreen-token", metavar="TOKEN", help="bearer token of that gateway")
    parser.addini("callscreen_clips", "folder of voices (human/, synthetic/) for legs without clips")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{MARKER}(**settings): settings of the gateway for the test's calls")


@pytest.fixture(scope="session")
def callscreen_voices(pytestconfig: pytest.Config) -> Callable[[], Library]:
    """Voices for legs without clips: `callscreen_clips`, else the shipped synthetic ones and Debian's prompts."""

    def voices() -> Library:
        from sim.clips import from_folder
        from sim.prompts import human_prompts

        clips: str = pytestconfig.getini("callscreen_clips")
        return from_folder(pytestconfig.rootpath / clips if clips else human_prompts())

    return voices


@pytest.fixture
def gateway(request: pytest.FixtureRequest, callscreen_voices: Callable[[], Library]) -> Iterator[PlaceCall]:
    """A gateway for calls: in this process on a virtual clock, or the one of ``--callscreen-gateway``."""
    import structlog

    from sim.caller import Gateway
    from sim.testing import PlaceCall

    marker = request.node.get_closest_marker(MARKER)
    settings = dict(marker.kwargs) if marker else {}
    url = request.config.getoption("--callscreen-gateway")
    if url and settings:
        pytest.skip(f"needs a gateway with settings of its own: {settings}")
    there = Gateway(url, request.config.getoption("--callscreen-token")) if url else None
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # errors only
    yield PlaceCall(there, callscreen_voices, settings, Path(request.path).parent)
    structlog.configure(**kept)


@pytest.fixture
def place_call(gateway: PlaceCall) -> PlaceCall:
    """Play one call: ``place_call(caller=synthetic("flite_slt"), callee=human())``."""
    return gateway


@pytest.fixture
def play_scenario(gateway: PlaceCall) -> Callable[[str], dict[str, PlacedCall]]:
    """Play a scenario, shipped or by its path relative to the test's file; return its calls by name."""

    def play(name_or_path: str) -> dict[str, PlacedCall]:
        from sim.files import load

        return gateway.play(load(gateway.path(name_or_path)))

    return play


@pytest.fixture
def expect_alert() -> Callable[..., None]:
    """Fail, with the timeline, without a confirmed alert: ``expect_alert(call, on="caller", within_s=30)``."""

    def expect(call: PlacedCall, *, on: str, within_s: float | None = None) -> None:
        __tracebackhide__ = True
        if fault := call.missing_alert(on, within_s):
            pytest.fail(fault, pytrace=False)

    return expect


@pytest.fixture
def expect_no_alert() -> Callable[..., None]:
    """Fail, with the timeline, if a leg (by default any) has an alert: ``expect_no_alert(call, on="callee")``."""

    def expect(call: PlacedCall, *, on: str | None = None) -> None:
        __tracebackhide__ = True
        if fault := call.unwanted_alert(on):
            pytest.fail(fault, pytrace=False)

    return expect
