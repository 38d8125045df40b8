"""Live display of a play: a table on a terminal, otherwise one line for each event."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from rich import box
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

from gateway.alerts.cloud_event import CloudEvent
from sim.calls import Call
from sim.fleet import Fleet
from sim.judge import LegResult
from sim.observe import Observed
from sim.terminal import Display

MAX_ROWS = 40
"""Rows that fit on a terminal; with more legs, only those with alerts or faults are shown."""
_BAR = 8
_STYLES = {
    "waiting": "dim",
    "listening": "green",
    "provisional": "yellow",
    "confirmed": "bold red",
    "cleared": "green",
    "synthetic": "bold red",
    "human": "green",
    "indeterminate": "yellow",
}


class Screen(Display):
    """Shows a fleet while it plays: a context manager around `Fleet.run`."""

    def __init__(self, console: Console, fleet: Fleet) -> None:
        super().__init__(console, LegsTable(fleet))

    def on_event(self, event: CloudEvent, received_s: float) -> None:
        """Print an event, unless the table shows it."""
        if self.live is None and event.type != "score":
            data = event.data.model_dump()
            p = f"p {data['p_synthetic']:.2f}" if data.get("speech_s") else None  # meaningless before any speech
            facts = [data.get("stage"), data.get("verdict"), p, data.get("reason")]
            text = "  ".join(str(fact) for fact in facts if fact)
            line = f"{received_s:7.1f} s  {event.subject or '':32} {event.type:16} {text}"
            self.console.print(line, highlight=False, soft_wrap=True)


class LegsTable:
    """The live table: the state of each leg."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._started_s = monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        clock = self._fleet.clock
        table = _columns("call", "via", "leg", "who speaks", "p synthetic", "speech", "alert")
        shown = self._shown()
        above = None
        for call, leg, seen in shown:
            table.add_row(
                *_who(call.call_id, call.transport, leg, above),
                " → ".join(voice.name for voice in call.parts[leg].voices),
                _bar(seen),
                f"{seen.speech_s:.0f} s",
                _status(seen, self._fleet.failures.get(call.call_id)),
            )
            above = call.call_id
        hidden = len(self._fleet.ledger.legs) - len(shown)
        table.title = self._progress(max(0.0, clock.now_s() if clock else 0.0))
        table.caption = f"and {hidden} more legs" if hidden else None
        yield table

    def _progress(self, now_s: float) -> str:
        """Return how much of the scenario has been played, and how long the rest takes at the pace so far."""
        whole_s = max((call.start_s + call.plan.duration_s for call in self._fleet.calls), default=0.0)
        left_s = max(0.0, whole_s - now_s)
        if now_s < 1.0:
            return f"{now_s:.0f} of {whole_s:.0f} s"
        pace = (monotonic() - self._started_s) / now_s
        return f"{now_s:.0f} of {whole_s:.0f} s, about {left_s * pace:.0f} s left"

    def _shown(self) -> list[tuple[Call, str, Observed]]:
        legs = self._fleet.ledger.legs
        rows = [(call, leg, legs[call.call_id, leg]) for call in self._fleet.calls for leg in call.parts]
        return rows if len(rows) <= MAX_ROWS else [row for row in rows if row[2].alerts][:MAX_ROWS]


def results_table(results: Sequence[LegResult], title: str) -> Table:
    """Return a table of legs with expectation and result; of many legs, only those with faults."""
    shown = results if len(results) <= MAX_ROWS else [result for result in results if not result.passed][:MAX_ROWS]
    table = _columns("call", "via", "leg", "who spoke", "p synthetic", "verdict", "alert after", "expected")
    table.title = title
    above = None
    for result in shown:
        verdict = result.observed.verdict or "none"
        after_s = result.time_to_alert_s.get("confirmed")
        table.add_row(
            *_who(result.call_id, result.transport, result.leg, above),
            " → ".join(result.voices),
            _bar(result.observed),
            Text(verdict, _STYLES.get(verdict, "")),
            "" if after_s is None else f"{after_s:.1f} s",
            _expectation(result),
        )
        above = result.call_id
    if len(shown) < len(results):
        table.caption = f"{len(results) - len(shown)} legs are not shown"
    return table


def faults(results: Sequence[LegResult]) -> Text:
    """Return a line for each leg with faults."""
    wrong = [result for result in results if not result.passed]
    lines = [f"✗ {_short(result.call_id)}/{result.leg}: {'; '.join(result.faults)}" for result in wrong[:MAX_ROWS]]
    return Text("\n".join(lines), "red")


def _columns(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", title_style="bold", title_justify="left")
    for name in names:
        # Names of voices are longest, so only their column wraps on a narrow terminal.
        justify: JustifyMethod = "right" if name in ("speech", "alert after") else "left"
        table.add_column(name, justify=justify, no_wrap=not name.startswith("who"))
    return table


def _expectation(result: LegResult) -> Text:
    wanted = "alert" if result.expects_alert else "no alert"
    return Text(f"✓ {wanted}", "green") if result.passed else Text(f"✗ {wanted}", "bold red")


def _who(call_id: str, transport: str, leg: str, above: str | None) -> tuple[str, str, str]:
    """Return call, transport and leg; for further legs of the same call only the leg."""
    return ("", "", leg) if call_id == above else (_short(call_id), transport, leg)


def _short(call_id: str) -> str:
    """Return the call id without the id of the run."""
    return call_id.rpartition(".")[0]


def _bar(seen: Observed) -> Text:
    if seen.p_synthetic is None or not seen.speech_s:
        return Text("·" * _BAR, "dim")
    p = seen.p_synthetic
    style = "red" if p >= 0.9 else "yellow" if p >= 0.5 else "green"
    return Text("█" * round(p * _BAR), style) + Text("·" * (_BAR - round(p * _BAR)), "dim") + Text(f" {p:.2f}")


def _status(seen: Observed, failure: str | None) -> Text:
    if failure is not None:
        return Text(f"failed: {failure}", "red")
    stages = [alert.stage for alert in seen.alerts]
    state = seen.verdict or seen.state
    text = Text(state, _STYLES.get(state, ""))
    if stages:
        last = seen.alerts[-1]
        text += Text(f"  {last.stage} at {last.media_time_s:.1f} s", _STYLES[last.stage])
    return text
