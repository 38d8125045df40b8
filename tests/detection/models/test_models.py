"""Every network: its shapes, that all of it learns, and that ONNX Runtime says what PyTorch says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detection.backends.onnx import OnnxBackend
from detection.card import Contract
from detection.decision.calibration import Calibration, ChannelCalibration
from detection.detector import WEIGHTS, open_detector, read_card
from detection.export import to_onnx
from detection.models import ARCHITECTURES, LogOdds
from detection.signal.features import Waveform
from detection.types import SAMPLE_RATE_HZ, Window
from tests.detection.signal.test_features import speechlike

TRAINED_WHOLE = [name for name, architecture in ARCHITECTURES.items() if not architecture.pretrained]
HEAVY = ("rawnet2", "rawnet3", "ecapa_tdnn")
UNCALIBRATED = ChannelCalibration(wide=Calibration(), narrow=Calibration())


def network(name: str) -> nn.Module:
    torch.manual_seed(1)
    return ARCHITECTURES[name].build(ARCHITECTURES[name].contract)


def windows(contract: Contract, count: int, gain: float = 1.0) -> Tensor:
    audio = [speechlike(contract.window_samples, seed) * np.float32(gain) for seed in range(count)]
    return torch.from_numpy(np.stack([contract.features.stream().push(samples) for samples in audio]))


@pytest.mark.parametrize("name", TRAINED_WHOLE)
def test_every_weight_learns(name: str) -> None:
    net = network(name)
    logits = net(windows(ARCHITECTURES[name].contract, 4))
    assert logits.shape == (4, 2)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1])).backward()  # type: ignore[no-untyped-call]
    stuck = [key for key, weight in net.named_parameters() if weight.grad is None or not weight.grad.isfinite().all()]
    assert stuck == []
    idle = [key for key, weight in net.named_parameters() if weight.grad is not None and not weight.grad.any()]
    assert idle == []


@pytest.mark.parametrize("name", [name for name, architecture in ARCHITECTURES.items() if not architecture.pretrained])
def test_a_few_training_steps_separate_two_sounds(name: str) -> None:
    net = network(name)
    frames = windows(ARCHITECTURES[name].contract, 8)
    audio = np.random.default_rng(0).normal(0, 0.1, (8, ARCHITECTURES[name].contract.window_samples))
    noise = [ARCHITECTURES[name].contract.features.stream().push(one.astype(np.float32)) for one in audio]
    both, labels = torch.cat([frames, torch.from_numpy(np.stack(noise))]), torch.arange(16) // 8
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(net(both), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.detach().item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", HEAVY)
def test_level_is_no_cue(name: str) -> None:
    served = LogOdds(network(name)).eval()
    contract = ARCHITECTURES[name].contract
    with torch.inference_mode():
        loud, quiet = served(windows(contract, 2)), served(windows(contract, 2, gain=0.1))
    assert loud.numpy() == pytest.approx(quiet.numpy(), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY)
def test_onnx_runtime_serves_it_from_a_window_of_samples(name: str, tmp_path: Path) -> None:
    net, contract = network(name), ARCHITECTURES[name].contract
    onnx = to_onnx(net, contract)
    (tmp_path / "it.onnx").write_bytes(onnx)
    facts = {"architecture": name, "contract": contract, "sha256": hashlib.sha256(onnx).hexdigest()}
    card = read_card(WEIGHTS / "tinystatnet.json").model_copy(update={**facts, "calibration": UNCALIBRATED})
    (tmp_path / "it.json").write_text(card.model_dump_json())
    detector = open_detector(tmp_path / "it.onnx")
    n_samples, hop = contract.window_samples, SAMPLE_RATE_HZ
    audio = speechlike(n_samples + hop)
    frontend = detector.frontend()
    first = frontend.inputs(Window(0.0, audio[:n_samples], n_samples, 3.0, 3.0))
    second = frontend.inputs(Window(1.0, audio[hop:], hop, 3.0, 1.0))
    if isinstance(contract.features, Waveform):
        assert np.array_equal(first[:, 0], audio[:n_samples])
        assert np.array_equal(second[:, 0], audio[hop:])
    with torch.inference_mode():
        by_torch = LogOdds(net).eval()(torch.from_numpy(np.stack([first, second]))).numpy()
    assert detector.score(np.stack([first, second])).log_odds == pytest.approx(by_torch, abs=1e-4)
    assert OnnxBackend(tmp_path / "it.onnx", contract.input_shape).log_odds(first[None]).shape == (1,)
