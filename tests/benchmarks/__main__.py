"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import sys

from rich.console import Console

from tests.benchmarks import bench_calls, bench_parts, bench_verifier, bench_webrtc

if __name__ == "__main__":
    console = Console()
    for title, bench in (
        ("What a second of one leg costs", bench_parts.main),
        ("Twilio calls, against a bare websocket server", bench_calls.main),
        ("The light model's delay, with and without a verifier", bench_verifier.main),
        ("WebRTC legs, against bare aiortc", bench_webrtc.main),
    ):
        console.rule(title)
        bench([])
    sys.exit(0)
