"""`callscreen detect export`: turns trained weights into an ONNX file with its card, after checking that they agree."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from detection.backends.onnx import OnnxBackend
from detection.backends.torch import TorchBackend, load_network
from detection.card import Card, Contract
from detection.errors import ModelError
from detection.measure.metrics import Labels, equal_error_rate
from detection.models import ARCHITECTURES, LogOdds
from detection.training.bank import ORIGINAL, Ragged
from detection.training.facts import read_facts
from detection.training.fit import VALIDATION_HOP, windows_of
from detection.training.material import DEFAULT_CACHE, Source
from detection.training.storage import StorageName, stored

TOLERANCE = 0.2
"""Largest accepted difference between PyTorch and ONNX Runtime: in log-odds, or relative where these exceed 1.

Wrong graphs differ by far more. `specnet` differs by up to 0.11: it sums thousands of standardised statistics with
small variance, convolutions round differently in the two runtimes, and a frame at the edge of speech may count in only
one of them."""
MEASURED_CLIPS = 400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.description = "Turn the checkpoint of a run into the model file that serving loads, with its card."
    parser.epilog = "example: callscreen detect export runs/mine --out weights/"
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that `train` wrote")
    parser.add_argument("--weights", default="best.pt", help="file in RUN, its facts beside it as .json (%(default)s)")
    parser.add_argument(
        "--twin", type=Path, metavar="RUN",
        help="take calibration and figures from this run's weights of the same name; it held out sources that RUN was "
        "trained on (RUN itself)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(), help="folder for NAME.onnx and NAME.json (%(default)s)")
    parser.add_argument("--name", help="name of the model (that of its architecture)")
    parser.add_argument(
        "--storage", choices=get_args(StorageName), default="float32",
        help="number format of the weights: float16 halves the file, int8 quarters it (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, metavar="MANIFEST.csv",
        help="measure the cost of --storage on clips of the sources that RUN, or its twin, held out",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, default=DEFAULT_CACHE, help="folder where `train` keeps renderings (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Export the weights of a run.

    Raises:
        ModelError: ONNX Runtime does not reproduce the network.
    """
    architecture, network = load_network(args.run / args.weights)
    facts = read_facts((args.twin or args.run) / args.weights)
    contract = ARCHITECTURES[architecture].contract
    whole = to_onnx(network, contract)
    onnx = stored(whole, args.storage)
    cost = _cost_on_held_out(args, contract) if args.data else storage_cost(whole, onnx, contract, None)
    measured = ", ".join(f"{name} {value:.4f}" for name, value in cost.items())
    Console().print(f"{args.storage}: {len(onnx) / 1e6:.2f} MB of {len(whole) / 1e6:.2f}; {measured}", soft_wrap=True)
    provenance = facts.provenance
    if args.storage != "float32":
        metrics = provenance.metrics | {f"{args.storage}_{name}": round(value, 4) for name, value in cost.items()}
        provenance = provenance.model_copy(update={"metrics": metrics})
    card = Card(
        name=args.name or architecture,
        architecture=architecture,
        contract=contract,
        sha256=hashlib.sha256(onnx).hexdigest(),
        calibration=facts.calibration,
        raise_p=facts.raise_p,
        provenance=provenance,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / f"{card.name}.onnx").write_bytes(onnx)
    (args.out / f"{card.name}.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    Console().print(f"wrote {args.out / card.name}.onnx and .json", soft_wrap=True)
    return 0


def to_onnx(network: nn.Module, contract: Contract) -> bytes:
    """Return the network as ONNX with a free batch size, after checking it against PyTorch.

    Uses the dynamo exporter: the older tracing exporter can freeze data-dependent shapes into wrong graphs.

    Raises:
        ModelError: ONNX Runtime's log-odds differ from PyTorch's by more than `TOLERANCE`.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_graph(LogOdds(network), contract, file, ("log_odds",))
        check_parity(network, file, contract)
        return file.read_bytes()


def write_graph(network: nn.Module, contract: Contract, file: Path, outputs: Sequence[str]) -> None:
    """Write `network`, which takes ``frames`` and returns `outputs`, as ONNX with a free batch size."""
    example = torch.zeros(2, *contract.input_shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns four times that torchvision is not installed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            input_names=["frames"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        assert program is not None
        program.save(file, external_data=False)


def storage_cost(
    whole: bytes, smaller: bytes, contract: Contract, held_out: tuple[Ragged, Sequence[int], Labels] | None
) -> dict[str, float]:
    """Return the cost of `smaller`: the largest change in log-odds on synthetic test signals, and the EER if possible.

    `held_out` are a rendering, the selected clips in it, and their labels ``(n,)``: for the EER before and after.
    """
    with TemporaryDirectory() as folder:
        backends = []
        for name, model in (("whole", whole), ("smaller", smaller)):
            file = Path(folder) / f"{name}.onnx"
            file.write_bytes(model)
            backends.append(OnnxBackend(file, contract.input_shape))
    before, after = ([backend.log_odds(batch) for batch in _windows(contract, 4)] for backend in backends)
    cost = {"log_odds_change": float(np.max(np.abs(np.concatenate(after) - np.concatenate(before))))}
    if held_out is None:
        return cost
    rendering, clips, is_fake = held_out
    n_frames = contract.input_shape[0]
    windows = [windows_of(rendering[clip], n_frames, int(VALIDATION_HOP * n_frames)) for clip in clips]
    scores = [[backend.log_odds(batch) for batch in windows] for backend in backends]
    changes = np.abs(np.concatenate(scores[1]) - np.concatenate(scores[0]))
    errors = [equal_error_rate(np.array([clip.mean() for clip in clips]), is_fake) for clips in scores]
    return {"log_odds_change": float(changes.max()), "eer_before": errors[0], "eer_after": errors[1]}


def _cost_on_held_out(args: argparse.Namespace, contract: Contract) -> dict[str, float]:
    """Return `storage_cost` for the run that held out sources: the twin if there is one."""
    run = args.twin or args.run
    whole = to_onnx(load_network(run / args.weights)[1], contract)
    return storage_cost(whole, stored(whole, args.storage), contract, _held_out(args, run, contract))


def _held_out(args: argparse.Namespace, run: Path, contract: Contract) -> tuple[Ragged, Sequence[int], Labels]:
    """Return up to `MEASURED_CLIPS` clips, as recorded, of the sources that `run` held out."""
    config = run / "config.json"
    try:
        groups = json.loads(config.read_text(encoding="utf-8"))["hold_out"]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{config}: expected the `hold_out` that `train` writes") from error
    source = Source(args.data, args.data.parent / "noise_rir.csv", args.cache, 1, groups)
    clips, _, validation = source.clips()
    chosen = np.random.default_rng(0).permutation(validation)[:MEASURED_CLIPS].tolist()
    rendering = source.bank(clips).features(ORIGINAL, contract.features)
    return rendering, chosen, np.array([clips[index].is_fake for index in chosen])


def check_parity(network: nn.Module, file: Path, contract: Contract) -> None:
    """Compare PyTorch and ONNX Runtime on noise, speech-like signals and silence, with several batch sizes.

    Raises:
        ModelError: they differ by more than `TOLERANCE`.
    """
    torch_says, onnx_says = TorchBackend(network), OnnxBackend(file, contract.input_shape)
    for batch in (1, 2, 7):
        for frames in _windows(contract, batch):
            expected, got = torch_says.log_odds(frames), onnx_says.log_odds(frames)
            difference = float(np.max(np.abs(expected - got) / np.maximum(1, np.abs(expected))))
            if not difference <= TOLERANCE:
                raise ModelError(f"export refused: PyTorch and ONNX Runtime differ by {difference:.1e} in log-odds")


def _windows(contract: Contract, batch: int) -> list[NDArray[np.float32]]:
    """Return batches of windows of noise, of voiced sounds in noise, and of silence."""
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
