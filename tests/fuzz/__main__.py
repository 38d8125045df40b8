"""Long runs: ``python -m tests.fuzz --inputs 1000000 [TARGET …]``.

What is found is shown with how to see it again, and kept under ``tests/fuzz/findings``, where `make test` replays it.
Exits with 1 when anything was found.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from functools import partial

import psutil
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.fuzz.runner import fuzz
from tests.fuzz.target import Finding
from tests.fuzz.targets import TARGETS

MEMORY_BYTES = 512 << 20
"""Of address space, beyond what is taken at the start: an input that asks for more is a finding."""


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which parsers: {', '.join(TARGETS)}; none: all")
    parser.add_argument("--inputs", type=int, default=10_000, help="for each target")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of CPU for each target, at most")
    parser.add_argument("--seed", type=int, default=time.time_ns() // 1_000_000, help="the same one: the same inputs")
    args = parser.parse_args()
    if unknown := sorted(set(args.targets) - set(TARGETS)):
        parser.error(f"there is no target {unknown[0]}; expected {', '.join(TARGETS)}")
    most_bytes = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # what the gateway logs of it is no finding
    console = Console()
    console.print(f"seed {args.seed}")
    found: list[Finding] = []
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        for name in args.targets or TARGETS:
            task = progress.add_task(name, total=args.inputs)
            began_s = time.process_time()
            advance = partial(progress.advance, task)
            new = fuzz(TARGETS[name], args.inputs, args.seed, advance, most_cpu_s=args.seconds)
            given = next(int(row.completed) for row in progress.tasks if row.id == task)
            progress.console.print(f"{name}: {given} inputs, {time.process_time() - began_s:.1f} s of CPU")
            for finding in new:
                progress.console.print(f"{name}: {finding.why}, {finding.size} bytes: {finding.save()}", style="red")
            found += new
    if found:
        console.print(f"{len(found)} findings; to see one again: python -m pytest tests/fuzz -k findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
