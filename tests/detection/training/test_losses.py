"""The ranking term sees clips of one page only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detection.training.losses import ranked_cross_entropy

LABELS = torch.tensor([0, 1, 0, 1])
PAGES = torch.tensor([0, 0, 1, 1])


def loss(log_odds: list[float], ranking: float, pages: Tensor = PAGES) -> float:
    logits = torch.stack([torch.zeros(4), torch.tensor(log_odds)], dim=1)
    return float(ranked_cross_entropy(logits, LABELS, pages, ranking, label_smoothing=0.0))


def test_without_ranking_it_is_cross_entropy() -> None:
    assert loss([0, 0, 0, 0], 0) == pytest.approx(0.6931, abs=1e-3)


def test_a_page_that_is_scored_high_as_a_whole_does_not_help() -> None:
    by_page = loss([-3, -3, 3, 3], 1) - loss([-3, -3, 3, 3], 0)
    assert by_page == pytest.approx(0.6931, abs=1e-3)  # both pages undecided within themselves
    within = loss([-6, 0, 0, 6], 1) - loss([-6, 0, 0, 6], 0)
    assert within < 0.01


def test_pages_of_one_class_have_nothing_to_rank() -> None:
    alone = torch.tensor([0, 1, 2, 3])
    assert loss([3, -3, 3, -3], 1, alone) == loss([3, -3, 3, -3], 0, alone)
