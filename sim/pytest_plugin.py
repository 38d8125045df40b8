"""pytest plugin: place calls against a gateway, and say what should be alerted on. Found by pytest by itself.

Fixtures: `gateway`, `place_call`, `play_scenario`, `expect_alert`, `expect_no_alert`. Markers:
``callscreen_gateway(**settings)`` for settings of the gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # loaded when first used: most tests of a project place no calls
    from sim.clips import Library
    from sim.testing import PlaceCall, PlacedCall

MARKER = "callscreen_gateway"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add where to call, and with whose voices."""
    group = parser.getgroup("callscreen")
    group.addoption("--callscreen-gateway", metavar="URL", help="call this gateway over sockets, not one in process")
    group.addoption("--callscreen-token", metavar="TOKEN", help="bearer token of that gateway")
    parser.addini("callscreen_clips", "folder of voices (human/, synthetic/) for legs without clips of their own")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{MARKER}(**settings): settings of the gateway that the test's calls go to")


@pytest.fixture(scope="session")
def callscreen_voices(pytestconfig: pytest.Config) -> Callable[[], Library]:
    """The voices of legs that bring none: `callscreen_clips`, else the shipped machines and Debian's prompts."""

    def voices() -> Library:
        from sim.clips import from_folder
        from sim.prompts import human_prompts

        clips: str = pytestconfig.getini("callscreen_clips")
        return from_folder(pytestconfig.rootpath / clips if clips else human_prompts())

    return voices


@pytest.fixture
def gateway(request: pytest.FixtureRequest, callscreen_voices: Callable[[], Library]) -> Iterator[PlaceCall]:
    """A gateway to place calls against: in this process, on a virtual clock, or the one of ``--callscreen-gateway``."""
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
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # only errors are of interest here
    yield PlaceCall(there, callscreen_voices, settings, Path(request.path).parent)
    structlog.configure(**kept)


@pytest.fixture
def place_call(gateway: PlaceCall) -> PlaceCall:
    """Play one call: ``place_call(caller=synthetic("flite_slt"), callee=human())``."""
    return gateway


@pytest.fixture
def play_scenario(gateway: PlaceCall) -> Callable[[str], dict[str, PlacedCall]]:
    """Play a scenario, shipped or a file relative to the test's; return its calls by name."""

    def play(name_or_path: str) -> dict[str, PlacedCall]:
        from sim.files import load

        return gateway.play(load(gateway.path(name_or_path)))

    return play


@pytest.fixture
def expect_alert() -> Callable[..., None]:
    """Fail, with the timeline, unless a confirmed alert came: ``expect_alert(call, on="caller", within_s=30)``."""

    def expect(call: PlacedCall, *, on: str, within_s: float | None = None) -> None:
        __tracebackhide__ = True
        if fault := call.missing_alert(on, within_s):
            pytest.fail(fault, pytrace=False)

    return expect


@pytest.fixture
def expect_no_alert() -> Callable[..., None]:
    """Fail, with the leg's timeline, when an alert came on a leg, or on any: ``expect_no_alert(call, on="callee")``."""

    def expect(call: PlacedCall, *, on: str | None = None) -> None:
        __tracebackhide__ = True
        if fault := call.unwanted_alert(on):
            pytest.fail(fault, pytrace=False)

    return expect
