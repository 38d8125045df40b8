"""A leg: order, duplicates, gaps, decoding, placement in time."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call.leg import Leg, Run
from gateway.errors import ProtocolError, UnsupportedMedia
from gateway.ingest.events import REORDER_PAYLOADS, AudioFormat, AudioReceived, LegId

LEG = LegId("caller")
MULAW = AudioFormat("mulaw", 8000)
LINEAR_16K = AudioFormat("s16le", 16_000)
PAYLOAD_S = 0.02


def packets(count: int, *, seq: int | None = 0, clock: bool = True) -> list[AudioReceived]:
    """20 ms payloads at 16 kHz that each carry their own index as their only value."""
    return [
        AudioReceived(
            LEG,
            np.full(320, index + 1, "<i2").tobytes(),
            seq=None if seq is None else seq + index,
            start_ms=20.0 * index if clock else None,
        )
        for index in range(count)
    ]


def listen(leg: Leg, received: list[AudioReceived]) -> list[Run]:
    return [run for packet in received for run in leg.push(packet)] + leg.flush()


def values(runs: list[Run]) -> list[int]:
    """The indexes of the payloads in the runs, in order."""
    samples = np.concatenate([run.samples for run in runs]) if runs else np.zeros(0)
    return [round(float(value) * 32768) - 1 for value in samples[::320]]


def test_audio_in_order_comes_out_whole_and_without_gaps() -> None:
    runs = listen(Leg(LINEAR_16K), packets(100))
    assert values(runs) == list(range(100))
    assert all(run.gap_s == 0 for run in runs)
    ends = [run.start_s + len(run.samples) / 16_000 for run in runs]
    assert [run.start_s for run in runs] == pytest.approx([0, *ends[:-1]])


def test_audio_comes_out_in_blocks_while_it_comes_in() -> None:
    leg = Leg(LINEAR_16K)
    assert [len(leg.push(packet)) for packet in packets(20)] == ([0] * 9 + [1]) * 2


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 59), max_size=10))
def test_reordering_within_the_depth_and_duplicates_change_nothing(rng: random.Random, again: list[int]) -> None:
    sent = packets(60)
    # Each packet is delayed by at most REORDER_PAYLOADS places; duplicates come right after or much later.
    received = sorted(sent[1:], key=lambda packet: (packet.seq or 0) + rng.uniform(0, REORDER_PAYLOADS - 0.5))
    received.insert(0, sent[0])
    for index in again:
        received.insert(rng.randrange(received.index(sent[index]), len(received)) + 1, sent[index])
    leg = Leg(LINEAR_16K)
    runs = listen(leg, received)
    assert values(runs) == list(range(60))
    assert leg.counters.missing_s == 0
    assert leg.counters.duplicates + leg.counters.late == len(again)


@given(st.sets(st.integers(1, 57), max_size=20))
def test_a_lost_packet_costs_exactly_that_packet(lost: set[int]) -> None:
    leg = Leg(LINEAR_16K)
    runs = listen(leg, [packet for packet in packets(60) if packet.seq not in lost])
    assert values(runs) == [index for index in range(60) if index not in lost]
    assert leg.counters.missing_s == pytest.approx(len(lost) * PAYLOAD_S)
    assert sum(run.gap_s for run in runs) == pytest.approx(len(lost) * PAYLOAD_S)
    for run in runs:  # what came is where the sender's clock says
        assert run.start_s == pytest.approx(values([run])[0] * PAYLOAD_S)


def test_a_lost_packet_is_given_up_after_the_reorder_depth() -> None:
    leg = Leg(LINEAR_16K)
    sent = packets(30)
    for packet in sent[:10]:
        leg.push(packet)
    held = [leg.push(packet) for packet in sent[11:]]
    assert [bool(runs) for runs in held].index(True) < REORDER_PAYLOADS + 10  # depth, then one block


def test_without_a_counter_the_clock_shows_what_is_lost() -> None:
    leg = Leg(LINEAR_16K)
    sent = packets(20, seq=None)
    runs = listen(leg, sent[:10] + sent[11:])
    assert values(runs) == [*range(10), *range(11, 20)]
    assert [run.gap_s for run in runs if run.gap_s] == pytest.approx([PAYLOAD_S])


def test_without_a_counter_the_same_time_twice_is_a_duplicate() -> None:
    leg = Leg(LINEAR_16K)
    sent = packets(20, seq=None)
    assert values(listen(leg, sent[:10] + sent[9:])) == list(range(20))
    assert leg.counters.duplicates == 1


@given(st.lists(st.floats(-10, 10), min_size=50, max_size=50))
def test_a_jittery_clock_makes_no_gaps(jitter_ms: list[float]) -> None:
    received = [
        AudioReceived(LEG, packet.payload, start_ms=1_700_000_000_000 + (packet.start_ms or 0) + late)
        for packet, late in zip(packets(50, seq=None), jitter_ms, strict=True)
    ]
    leg = Leg(LINEAR_16K)
    assert values(listen(leg, received)) == list(range(50))
    assert leg.counters.missing_s <= 0.02  # at most one step up, never a ratchet


def test_silence_that_was_not_sent_is_filled_not_lost() -> None:
    leg = Leg(LINEAR_16K)
    sent = packets(20)
    later = [AudioReceived(LEG, p.payload, p.seq, (p.start_ms or 0) + 400) for p in sent[10:]]
    runs = listen(leg, sent[:10] + later)
    samples = np.concatenate([run.samples for run in runs])
    assert len(samples) == 20 * 320 + 6400
    assert not samples[3200:9600].any()
    assert leg.counters.missing_s == 0
    assert all(run.gap_s == 0 for run in runs)


def test_a_long_pause_of_the_sender_is_a_gap_but_no_loss() -> None:
    leg = Leg(LINEAR_16K)
    sent = packets(20)
    later = [AudioReceived(LEG, p.payload, p.seq, (p.start_ms or 0) + 60_000) for p in sent[10:]]
    runs = listen(leg, sent[:10] + later)
    assert [run.gap_s for run in runs] == pytest.approx([0, 60])
    assert runs[1].start_s == pytest.approx(60.2)
    assert leg.counters.missing_s == 0


def test_a_restarted_counter_goes_on_where_media_time_is() -> None:
    leg = Leg(LINEAR_16K)
    again = [AudioReceived(LEG, p.payload, (p.seq or 0) + 40_000, (p.start_ms or 0) + 9e6) for p in packets(20)]
    runs = listen(leg, packets(20) + again)
    assert values(runs) == [*range(20), *range(20)]
    assert leg.counters.missing_s == 0
    assert runs[-1].start_s + len(runs[-1].samples) / 16_000 == pytest.approx(0.8)


def test_a_clock_that_goes_back_goes_on_where_media_time_is() -> None:
    leg = Leg(LINEAR_16K)
    again = packets(50, seq=None)
    runs = listen(leg, packets(50, seq=None) + again)
    assert values(runs) == [*range(50), *range(50)]
    assert leg.counters.missing_s == 0


def test_telephone_audio_is_resampled_in_place() -> None:
    time_s = np.arange(8000 * 2) / 8000
    tone = np.sin(2 * np.pi * 500 * time_s)
    pcm = np.round(tone * 16000).astype("<i2")
    leg = Leg(AudioFormat("s16le", 8000))
    runs = listen(leg, [AudioReceived(LEG, pcm[at : at + 160].tobytes()) for at in range(0, len(pcm), 160)])
    samples = np.concatenate([run.samples for run in runs])
    expected = np.sin(2 * np.pi * 500 * np.arange(32_000) / 16_000) * 16000 / 32768
    assert len(samples) == pytest.approx(32_000, abs=1)
    assert np.abs(samples[800:-800] - expected[800 : len(samples) - 800]).max() < 2e-3


def test_invalid_payloads_are_refused_at_once() -> None:
    leg = Leg(LINEAR_16K)
    with pytest.raises(ProtocolError, match="whole 16-bit samples, got 3 bytes"):
        leg.push(AudioReceived(LEG, b"abc"))
    with pytest.raises(UnsupportedMedia, match="rate: expected 8000 to 192000 Hz, got 4000"):
        Leg(AudioFormat("mulaw", 4000))


def test_nothing_in_nothing_out() -> None:
    assert Leg(MULAW).flush() == []


def test_packets_without_speech_count_and_are_not_loss() -> None:
    leg = Leg(AudioFormat("mulaw", 8_000))
    runs = []
    for seq in range(100):
        payload = b"" if 40 <= seq < 60 else b"\x80" * 160
        runs += leg.push(AudioReceived(LegId("a"), payload, seq, None if not payload else 20.0 * seq))
    runs += leg.flush()
    assert leg.counters.missing_s == 0
    assert sum(len(run.samples) for run in runs) == pytest.approx(2.0 * 16_000, abs=64)
    assert all(run.gap_s == 0 for run in runs)


@pytest.mark.parametrize(("rate_hz", "after_ms"), [(8_000, 20), (16_000, 0), (24_000, 20), (48_000, 20)])
def test_what_is_waited_for_comes_as_soon_as_it_is_certain(rate_hz: int, after_ms: int) -> None:
    """By the packet that ends it, or the next where a resampler looks ahead."""
    leg = Leg(AudioFormat("s16le", rate_hz))
    packet = AudioReceived(LEG, bytes(2 * rate_hz // 50))
    for due_s in (0.46, 0.48, 1.5, 2.0):
        leg.due_s, heard_s = due_s, 0.0
        while heard_s < due_s - 1e-6:
            for run in leg.push(packet):
                heard_s = run.start_s + len(run.samples) / 16_000
        assert leg.counters.received_s == pytest.approx(due_s + after_ms / 1000)


def test_what_is_waited_for_changes_nothing_of_what_comes() -> None:
    draw = np.random.default_rng(0)
    payloads = [AudioReceived(LEG, draw.integers(0, 256, 160, np.uint8).tobytes()) for _ in range(300)]
    plain, hasty = Leg(MULAW), Leg(MULAW)
    runs = []
    for payload in payloads:
        hasty.due_s = hasty.due_s if draw.random() < 0.8 else draw.uniform(0, 6)
        runs += hasty.push(payload)
    expected = np.concatenate([run.samples for run in listen(plain, payloads)])
    got = np.concatenate([run.samples for run in [*runs, *hasty.flush()]])
    assert len(runs) > 30
    assert np.allclose(got, expected, rtol=0, atol=1e-6)


def test_discarded_audio_is_a_gap_and_not_a_loss() -> None:
    leg = Leg(LINEAR_16K)
    runs = []
    for index, packet in enumerate(packets(100)):
        leg.shedding = 35 <= index < 60
        runs += leg.push(packet)
    runs += leg.flush()
    assert values(runs) == [*range(35), *range(60, 100)]
    assert [(run.start_s, run.gap_s) for run in runs if run.gap_s] == [pytest.approx((1.2, 0.5))]
    assert leg.counters.shed_s == pytest.approx(0.5)
    assert leg.counters.missing_s == 0
    assert leg.counters.received_s == pytest.approx(1.5)
