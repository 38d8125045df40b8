"""Telephone channels, simulated with real codecs.

`CHANNELS` lists every channel by name; `apply_channel` sends audio through one. Training uses the same functions
(`transcode`, `lose_packets`) with random settings, so it covers more than the channels that are measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ, Samples

PACKET_S = 0.02
"""Length of a packet, in seconds."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A speech codec of libav (GSM: of libsndfile)."""

    encoder: str
    """Name of the encoder; `libsndfile-gsm` for GSM full rate, which libav can only decode."""
    rate_hz: int
    bit_rate: int = 0
    """Bits per second; 0 if the codec has only one rate."""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Channel:
    """One path through the telephone network."""

    codec: Codec | None
    band_hz: tuple[float, float] | None = None
    """Analogue band limits before the codec, 12 dB per octave and steeper; None for the whole band."""
    loss: float = 0.0
    """Share of 20 ms packets that are lost, in bursts, and concealed similarly to G.711 Appendix I."""


def opus(bit_rate: int) -> Codec:
    """Return Opus with the settings of telephony: voice mode, 20 ms packets, `bit_rate` bits per second."""
    return Codec("libopus", 16_000, bit_rate, {"application": "voip", "frame_duration": "20", "compression_level": "5"})


MULAW = Codec("pcm_mulaw", 8_000)
ALAW = Codec("pcm_alaw", 8_000)
G722 = Codec("g722", 16_000)
GSM = Codec("libsndfile-gsm", 8_000)
AMR_NB = Codec("libopencore_amrnb", 8_000, 12_200)

CHANNELS: Mapping[str, Channel] = {
    "clean": Channel(None),
    "pstn": Channel(MULAW, band_hz=(300.0, 3_400.0)),
    "mulaw": Channel(MULAW),
    "alaw": Channel(ALAW),
    "g722": Channel(G722),
    "gsm": Channel(GSM),
    "amrnb": Channel(AMR_NB),
    "opus6": Channel(opus(6_000)),
    "opus8": Channel(opus(8_000)),
    "opus12": Channel(opus(12_000)),
    "opus16": Channel(opus(16_000)),
    "opus24": Channel(opus(24_000)),
    "opus32": Channel(opus(32_000)),
    "lossy": Channel(MULAW, loss=0.05),
}
"""All channels by name, as used in commands and reports."""


def apply_channel(samples: Samples, name: str) -> Samples:
    """Send 16 kHz audio through the channel `name`; the length stays the same, and the result is deterministic.

    Raises:
        ValueError: unknown channel.
    """
    if name not in CHANNELS:
        raise ValueError(f"channel: expected one of {', '.join(CHANNELS)}; got {name!r}")
    channel = CHANNELS[name]
    if channel.band_hz is not None:
        samples = limit_band(samples, *channel.band_hz)
    if channel.codec is not None:
        samples = transcode(samples, channel.codec)
    if channel.loss:
        samples = lose_packets(samples, channel.loss, np.random.default_rng(len(samples)))
    return samples


def limit_band(samples: Samples, low_hz: float, high_hz: float) -> Samples:
    """Keep `low_hz` to `high_hz` with fourth-order Butterworth skirts (zero phase, in the frequency domain)."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    # The squared magnitude of an order-4 Butterworth, so that both skirts fall by 48 dB per octave in power terms.
    gain = 1 / np.sqrt((1 + (low_hz / np.maximum(hz, 1e-3)) ** 8) * (1 + (hz / high_hz) ** 8))
    return np.fft.irfft(spectrum * gain, len(samples)).astype(np.float32)


def transcode(samples: Samples, codec: Codec) -> Samples:
    """Encode and decode 16 kHz audio at the codec's rate; the length stays the same, and the codec's delay remains."""
    at_codec_rate = soxr.resample(samples, SAMPLE_RATE_HZ, codec.rate_hz)
    pcm = (np.clip(at_codec_rate, -1.0, 1.0) * 32_767).astype(np.int16)
    decoded, rate_hz = _gsm(pcm) if codec is GSM else _libav(pcm, codec)
    restored = soxr.resample(decoded, rate_hz, SAMPLE_RATE_HZ)[: len(samples)]
    return np.pad(restored, (0, len(samples) - len(restored))).astype(np.float32)


def lose_packets(samples: Samples, loss: float, rng: np.random.Generator, concealed: bool = True) -> Samples:
    """Lose a share `loss` of packets in bursts of two on average; conceal with the last packet, fading over 60 ms.

    If not `concealed`, lost packets are silent.
    """
    packet = int(PACKET_S * SAMPLE_RATE_HZ)
    received = samples.copy()
    leave_burst = 0.5
    enter_burst = leave_burst * loss / (1 - loss)
    lost_in_a_row = 0
    for start in range(packet, len(samples) - packet + 1, packet):
        in_burst = rng.random() < (enter_burst if lost_in_a_row == 0 else 1 - leave_burst)
        lost_in_a_row = lost_in_a_row + 1 if in_burst else 0
        if in_burst:
            fade = max(0.0, 1.0 - lost_in_a_row / 3) if concealed else 0.0
            received[start : start + packet] = received[start - packet : start] * fade
    return received


def _gsm(pcm: NDArray[np.int16]) -> tuple[Samples, int]:
    import soundfile  # only this channel needs it, and it loads a shared library

    wav = BytesIO()
    soundfile.write(wav, pcm, GSM.rate_hz, format="WAV", subtype="GSM610")
    wav.seek(0)
    decoded, rate_hz = soundfile.read(wav, dtype="float32")
    return decoded, rate_hz


def _libav(pcm: NDArray[np.int16], codec: Codec) -> tuple[Samples, int]:
    encoder = av.CodecContext.create(codec.encoder, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = codec.rate_hz
    encoder.layout = "mono"
    encoder.format = encoder.codec.audio_formats[0] if encoder.codec.audio_formats else "s16"
    if codec.bit_rate:
        encoder.bit_rate = codec.bit_rate
    encoder.options = dict(codec.options)
    encoder.open()
    decoder = av.CodecContext.create(_DECODERS.get(codec.encoder, codec.encoder), "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = codec.rate_hz
    decoder.layout = "mono"
    decoder.extradata = encoder.extradata
    decoder.open()
    packets = [packet for frame in (*_frames(pcm, encoder), None) for packet in encoder.encode(frame)]
    decoded = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
    pieces = [_to_float(frame) for frame in decoded]
    return np.concatenate(pieces), decoded[0].sample_rate


_DECODERS = {"libopencore_amrnb": "amrnb"}
"""Decoders that are not named as their encoder is."""


def _frames(pcm: NDArray[np.int16], encoder: av.AudioCodecContext) -> Iterator[av.AudioFrame]:
    size = encoder.frame_size or len(pcm)
    padded = np.pad(pcm, (0, -len(pcm) % size))
    as_float = encoder.format.name.startswith("flt")
    for start in range(0, len(padded), size):
        piece = padded[None, start : start + size]
        data = piece.astype(np.float32) / 32_768 if as_float else piece
        frame = av.AudioFrame.from_ndarray(data, format=encoder.format.name, layout="mono")
        frame.sample_rate = encoder.sample_rate
        frame.pts = start
        yield frame


def _to_float(frame: av.AudioFrame) -> Samples:
    data = frame.to_ndarray()[0]
    scale = 1 / 32_768 if data.dtype == np.int16 else 1.0
    return np.asarray(data * scale, np.float32)
