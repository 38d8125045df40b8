"""All benchmarks, one after the other: `make bench`. By command alone, as it takes its time: ``soak``."""

from __future__ import annotations

import sys

from rich.console import Console

from tests.benchmarks import (
    bench_calls,
    bench_dialects,
    bench_nats,
    bench_parts,
    bench_pool,
    bench_soak,
    bench_verifier,
    bench_webrtc,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["soak"]:
        sys.exit(bench_soak.main(sys.argv[2:]))
    console = Console()
    for title, bench, arguments in (
        ("What a second of one leg costs", bench_parts.main, ()),
        ("A message in every dialect, against a bare websocket server", bench_dialects.main, ()),
        ("Twilio calls, against a bare websocket server", bench_calls.main, ()),
        ("The same in two processes", bench_calls.main, ("--calls", "50", "100", "--workers", "2")),
        ("The light model's delay, with and without a verifier", bench_verifier.main, ()),
        ("A verified window over the pool, against one in the gateway", bench_pool.main, ()),
        ("WebRTC legs, against bare aiortc", bench_webrtc.main, ()),
        ("An event to NATS, against bare publishing", bench_nats.main, ()),
    ):
        console.rule(title)
        bench(list(arguments))
    sys.exit(0)
