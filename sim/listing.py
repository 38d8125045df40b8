"""Lists scenarios, and shows the content of one."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from sim.files import load, shipped
from sim.network import PERFECT
from sim.scenario import CallPlan, LegPlan, Scenario


def show_all(console: Console) -> None:
    """Print a line for each shipped scenario."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name, justify in (("scenario", "left"), ("calls", "right"), ("lasts", "right"), ("about", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=name != "about")
    for name in shipped():
        scenario = load(name)
        calls = sum(plan.count for plan in scenario.call)
        table.add_row(name, str(calls), f"{scenario.duration_s:.0f} s", scenario.about)
    console.print(table)


def show(scenario: Scenario, console: Console) -> None:
    """Print the speakers of each call, its line and the expectations."""
    console.print(f"[bold]{scenario.name}[/]  {scenario.about}", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("call", "via", "from – to", "leg", "voice", "sounds", "line", "expected"):
        table.add_column(name)
    for plan in scenario.call:
        above = ""
        for leg, leg_plan in plan.legs.items():
            who = (_name(plan), plan.transport, _when(plan)) if plan.name != above else ("", "", "")
            sounds = ", ".join(_sounds(leg_plan)) or "–"
            table.add_row(
                *who, leg, _who(leg_plan), sounds, ", ".join(_line(plan, leg_plan)) or "–", _expectation(leg_plan)
            )
            above = plan.name
    console.print(table)
    if scenario.restart_s:
        times = ", ".join(f"{at_s:g} s" for at_s in scenario.restart_s)
        console.print(f"The gateway is restarted at {times}.", highlight=False)
    if scenario.gateway:
        console.print(f"Settings of the gateway: {scenario.gateway}", highlight=False)


def _name(plan: CallPlan) -> str:
    return plan.name if plan.count == 1 else f"{plan.name} ({plan.count})"


def _when(plan: CallPlan) -> str:
    return f"{plan.start_s:g} – {plan.start_s + plan.duration_s:g} s"


def _who(leg: LegPlan) -> str:
    system = f" ({leg.system})" if leg.system != "*" else ""
    return leg.voice.replace("-then-", " → ") + system


def _sounds(leg: LegPlan) -> Iterator[str]:
    for sound in leg.sound:
        yield f"{sound.kind} at {sound.at_s:g} s"
    if leg.noise:
        yield f"{leg.noise} noise, SNR {leg.noise_snr_db:g} dB"
    if leg.room_s:
        yield f"a room of {leg.room_s:g} s"
    if leg.echo_db is not None:
        yield f"echo {leg.echo_db:g} dB, {leg.echo_ms:g} ms"


def _line(plan: CallPlan, leg: LegPlan) -> Iterator[str]:
    if leg.codec:
        yield " → ".join(leg.codec)
    if plan.network != PERFECT:
        network = plan.network
        for name in ("loss", "burst", "jitter_ms", "reorder", "duplicate", "drift_ppm", "dtx"):
            if (value := getattr(network, name)) != getattr(PERFECT, name):
                yield f"{name} {value:g}" if not isinstance(value, bool) else name
    for cut in plan.cut:
        back = "" if cut.back_after_s is None else f", back after {cut.back_after_s:g} s"
        yield f"{cut.how} at {cut.at_s:g} s{back}"


def _expectation(leg: LegPlan) -> str:
    wanted = "alert" if leg.expects_alert else "no alert"
    if leg.alert_within_s is not None:
        wanted += f" within {leg.alert_within_s:g} s"
    if leg.verdict:
        wanted += f", ends {' or '.join(leg.verdict)}"
    return wanted
