"""Impairments of a line: which packets are lost, late or duplicated, drawn from a seed.  [S]

line = Line(Network(loss=0.02, jitter_ms=30), random.Random(7))
delays_ms = line.fate()         # of the next packet: () lost, (0.0,) on time, (0.0, 12.5) duplicated
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable
from typing import Annotated, Generic, TypeVar

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Impairments of a line. All zero: a perfect line."""

    loss: Share = 0.0
    """Share of packets that never arrive."""
    burst: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0
    """Mean number of packets lost in a row (Gilbert model); 1: losses are independent."""
    jitter_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    """Largest delay of a packet; delays are uniformly distributed."""
    reorder: Share = 0.0
    """Share of packets that are `OVERTAKEN_MS` late, so that later ones overtake them."""
    duplicate: Share = 0.0
    """Share of packets that arrive twice."""
    drift_ppm: Annotated[float, msgspec.Meta(ge=-500.0, le=500.0)] = 0.0
    """How much too slow the sender's clock is: packets come later and later. Negative: too fast."""
    dtx: bool = False
    """Send nothing during silence (discontinuous transmission), after `HANGOVER_PACKETS` of silence."""

    def __post_init__(self) -> None:
        if self.burst > 1.0 and self.burst * (1.0 - self.loss) < self.loss:
            raise ValueError(f"burst: expected 1, or at least {self.loss / (1.0 - self.loss):g} with this loss")


OVERTAKEN_MS = 50.0
"""Late enough for two packets of 20 ms to overtake."""
HANGOVER_PACKETS = 10
PACKET_MS = 20.0
FAST_CLOCK_MS = 500.0
"""Delay of the first packet with a clock that is too fast, since packets cannot arrive before they are sent."""
PERFECT = Network()


class Line:
    """Determines delay and loss of one leg's packets, in order."""

    def __init__(self, network: Network, rng: random.Random) -> None:
        self._network = network
        self._rng = rng
        self._losing = False
        self._packets = self._silent_packets = 0

    def fate(self, *, silent: bool = False) -> tuple[float, ...]:
        """Return the delay in milliseconds of each copy of the next packet; empty if it is lost.

        Args:
            silent: nobody speaks in this packet.
        """
        network, rng = self._network, self._rng
        drifted_ms = network.drift_ppm * 1e-6 * PACKET_MS * self._packets + FAST_CLOCK_MS * (network.drift_ppm < 0)
        self._packets += 1
        self._silent_packets = self._silent_packets + 1 if silent else 0
        # Always the same number of random draws, so that one impairment does not change the others.
        dice = [rng.random() for _ in range(5)]
        if self._is_lost(dice[0]) or (network.dtx and self._silent_packets > HANGOVER_PACKETS):
            return ()
        delay_ms = dice[1] * network.jitter_ms + (OVERTAKEN_MS if dice[2] < network.reorder else 0.0)
        delay_ms += max(0.0, drifted_ms)
        if dice[3] < network.duplicate:
            return (delay_ms, delay_ms + dice[4] * OVERTAKEN_MS)
        return (delay_ms,)

    def _is_lost(self, die: float) -> bool:
        """Advance the Gilbert model: the mean stay in the loss state is `burst`, its share of the time is `loss`."""
        loss, burst = self._network.loss, self._network.burst
        if burst == 1.0:
            return die < loss
        self._losing = die < (1.0 - 1.0 / burst if self._losing else loss / (1.0 - loss) / burst)
        return self._losing


Packet = TypeVar("Packet")


class InFlight(Generic[Packet]):
    """Packets that were sent and have not arrived."""

    def __init__(self, *, in_order: bool) -> None:
        """`in_order`: packets never overtake; a late one delays those after it, as in TCP."""
        self._in_order = in_order
        self._arrivals: list[tuple[float, int, Packet]] = []
        self._count = itertools.count()
        self._newest_arrival_s = 0.0

    def push(self, now_s: float, delays_ms: Iterable[float], packet: Packet) -> None:
        """Send a packet with these delays, one for each copy."""
        for delay_ms in delays_ms:
            arrives_s = now_s + delay_ms / 1000
            if self._in_order:
                self._newest_arrival_s = arrives_s = max(arrives_s, self._newest_arrival_s)
            heapq.heappush(self._arrivals, (arrives_s, next(self._count), packet))

    def arrived(self, now_s: float) -> list[Packet]:
        """Return the packets that arrive until `now_s`, in order of arrival."""
        packets = []
        while self._arrivals and self._arrivals[0][0] <= now_s:
            packets.append(heapq.heappop(self._arrivals)[2])
        return packets
