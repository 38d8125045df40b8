"""Long runs: ``python -m tests.fuzz --inputs 1000000 [TARGET …]``.

What is found is shown with how to see it again, and kept under ``tests/fuzz/findings``, where `make test` replays it.
Ctrl-C or SIGTERM stops it; with ``--state FILE``, the same command goes on where it was. Exits with 1 when anything was
found, with 130 when it was stopped.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from tests.fuzz.campaign import Campaign, processes
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which parsers: {', '.join(TARGETS)}; none: all")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each target")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of CPU for each target, at most")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000, help="the same one: the same inputs")
    parser.add_argument(
        "--state", type=Path, help="a file that tells how far the run is; if it is there, go on from it"
    )
    args = parser.parse_args()
    if unknown := sorted(set(args.targets) - set(TARGETS)):
        parser.error(f"there is no target {unknown[0]}; expected {', '.join(TARGETS)}")
    campaign, console = Campaign.begin(args.seed, args.state), Console()
    console.print(f"seed {campaign.seed}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: _stop(campaign, console))
    _run(campaign, args, console)
    console.print(_table(campaign))
    if campaign.stopping:
        return 130
    return 1 if any(progress.faults for progress in campaign.targets.values()) else 0


def _stop(campaign: Campaign, console: Console) -> None:
    campaign.stopping = True
    console.print("stopping after the batches that run now")


def _run(campaign: Campaign, args: argparse.Namespace, console: Console) -> None:
    names = args.targets or list(TARGETS)
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with processes(args.jobs) as pool, Bars(*columns, console=console, speed_estimate_period=600) as bars:
        whole = bars.add_task("all", total=args.inputs * len(names))
        bars.update(whole, completed=sum(campaign.targets[name].inputs for name in names if name in campaign.targets))
        for name, found in campaign.run(names, args.inputs, args.seconds, pool, 2 * args.jobs):
            progress = campaign.targets[name]
            bars.update(whole, completed=sum(campaign.targets[one].inputs for one in names), description=name)
            for finding in found:
                again = f"python -m pytest tests/fuzz -k {name}-{finding.save().stem}"
                console.print(f"{name}: {finding.why}, {finding.size} bytes; again: {again}", style="red")
            if args.state:
                campaign.save(args.state)
            if not console.is_terminal and progress.inputs % 100_000 == 0:
                console.print(
                    f"{name}: {progress.inputs} inputs, {progress.cpu_s:.0f} s of CPU, {len(progress.faults)} findings"
                )


def _table(campaign: Campaign) -> Table:
    table = Table("target", "inputs", "seconds of CPU", "findings")
    for name, progress in campaign.targets.items():
        table.add_row(name, f"{progress.inputs:,}", f"{progress.cpu_s:.0f}", str(len(progress.faults)))
    return table


if __name__ == "__main__":
    sys.exit(main())
