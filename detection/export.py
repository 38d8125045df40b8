"""`python -m detection export`: trained weights to an ONNX file with its card, refused when the two disagree."""

from __future__ import annotations

import argparse
import hashlib
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from detection.backends.onnx import OnnxBackend
from detection.backends.torch import TorchBackend, load_network
from detection.card import Card, Contract
from detection.errors import ModelError
from detection.models import ARCHITECTURES, LogOdds
from detection.training.facts import read_facts

TOLERANCE = 1e-4
"""The most that PyTorch and ONNX Runtime may differ in log-odds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `train` wrote")
    parser.add_argument("--weights", default="best.pt", help="file in RUN (%(default)s)")
    parser.add_argument(
        "--twin", type=Path, metavar="RUN",
        help="take calibration and figures from this run, which held sources out that RUN has heard (RUN itself)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(), help="folder for NAME.onnx and NAME.json (%(default)s)")
    parser.add_argument("--name", help="name of the model (that of its architecture)")


def run(args: argparse.Namespace) -> int:
    """Export one run's weights; raises `ModelError` when ONNX Runtime does not reproduce the network."""
    architecture, network = load_network(args.run / args.weights)
    facts = read_facts((args.twin or args.run) / "facts.json")
    contract = ARCHITECTURES[architecture].contract
    onnx = to_onnx(network, contract)
    card = Card(
        name=args.name or architecture,
        architecture=architecture,
        contract=contract,
        sha256=hashlib.sha256(onnx).hexdigest(),
        calibration=facts.calibration,
        raise_p=facts.raise_p,
        provenance=facts.provenance,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{card.name}.onnx").write_bytes(onnx)
    (args.out / f"{card.name}.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    Console().print(f"wrote {args.out / card.name}.onnx and .json", soft_wrap=True)
    return 0


def to_onnx(network: nn.Module, contract: Contract) -> bytes:
    """Return the network as ONNX, with a free batch size, after checking that it says what PyTorch says.

    The dynamo exporter: the older tracing one is known to freeze data-dependent shapes into wrong graphs.

    Raises:
        ModelError: ONNX Runtime's log-odds differ from PyTorch's by more than `TOLERANCE`.
    """
    served = LogOdds(network).eval()
    example = torch.zeros(2, *contract.input_shape)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        file = Path(folder) / "model.onnx"
        program = torch.onnx.export(
            served,
            (example,),
            dynamo=True,
            input_names=["frames"],
            output_names=["log_odds"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        assert program is not None
        program.save(file, external_data=False)
        check_parity(network, file, contract)
        return file.read_bytes()


def check_parity(network: nn.Module, file: Path, contract: Contract) -> None:
    """Raise `ModelError` when PyTorch and ONNX Runtime differ on random or speech-like windows, at any batch size."""
    torch_says, onnx_says = TorchBackend(network), OnnxBackend(file, contract.input_shape)
    for batch in (1, 2, 7):
        for frames in _windows(contract, batch):
            difference = float(np.max(np.abs(torch_says.log_odds(frames) - onnx_says.log_odds(frames))))
            if not difference <= TOLERANCE:
                raise ModelError(f"export refused: PyTorch and ONNX Runtime differ by {difference:.1e} in log-odds")


def _windows(contract: Contract, batch: int) -> list[NDArray[np.float32]]:
    """Return batches of what the network may meet: noise, voiced sounds in noise, silence."""
    rng = np.random.default_rng(batch)
    seconds = np.arange(contract.window_samples) / contract.sample_rate_hz
    noise = rng.normal(0, 0.1, (batch, len(seconds)))
    pitch_hz = rng.uniform(80, 250, (batch, 1)) * (1 + 0.05 * np.sin(2 * np.pi * seconds * rng.uniform(2, 6)))
    pulses = np.sign(np.sin(2 * np.pi * np.cumsum(pitch_hz, axis=1) / contract.sample_rate_hz))
    envelope = np.maximum(0, np.sin(2 * np.pi * seconds * rng.uniform(1, 4, (batch, 1))))
    sounds = (noise, 0.2 * pulses * envelope + 0.01 * noise, np.zeros_like(noise))
    return [
        np.stack([contract.features.stream().push(samples) for samples in sound.astype(np.float32)]) for sound in sounds
    ]
