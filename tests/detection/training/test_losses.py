"""Each loss against a value worked out by hand; the ranking term sees clips of one page only."""

from __future__ import annotations

from math import exp, log, nan

import pytest
import torch
from torch import Tensor

from detection.models.layers import Direction
from detection.training.losses import class_loss, distillation_loss, page_ranking, training_loss
from detection.training.settings import LossName, Settings

LABELS = torch.tensor([0, 1, 0, 1])
PAGES = torch.tensor([0, 0, 1, 1])
ALIKE = torch.ones(2)
UNTAUGHT = torch.full((4,), nan)


def logits(*log_odds: float) -> Tensor:
    return torch.stack([torch.zeros(len(log_odds)), torch.tensor(log_odds)], dim=1)


# A human at log-odds 1 and a machine at log-odds 2: the truth has probability 1 / (1 + e) and 1 / (1 + e^-2).
HUMAN, MACHINE = 1 / (1 + exp(1)), 1 / (1 + exp(-2))


@pytest.mark.parametrize(
    ("name", "of_human", "of_machine"),
    [
        ("cross-entropy", -log(HUMAN), -log(MACHINE)),
        ("focal", -((1 - HUMAN) ** 2) * log(HUMAN), -((1 - MACHINE) ** 2) * log(MACHINE)),
        ("one-class", log(1 + exp(7 + 1)), log(1 + exp(7 - 2))),
    ],
)
def test_each_loss_is_what_its_paper_says_and_weighs_classes(
    name: LossName, of_human: float, of_machine: float
) -> None:
    both, labels = logits(1, 2), torch.tensor([0, 1])
    assert float(class_loss(name, both, labels, ALIKE)) == pytest.approx((of_human + of_machine) / 2, rel=1e-5)
    weighted = class_loss(name, both, labels, torch.tensor([0.5, 3.0]))
    assert float(weighted) == pytest.approx((0.5 * of_human + 3 * of_machine) / 2, rel=1e-5)


def test_smoothed_labels_make_certainty_cost() -> None:
    sure = class_loss("cross-entropy", logits(-20), torch.tensor([0]), ALIKE, label_smoothing=0.1)
    assert float(sure) == pytest.approx(0.05 * 20, rel=1e-3)


def test_one_class_on_a_direction_is_oc_softmax() -> None:
    direction = Direction(2)
    with torch.no_grad():
        direction.weight.copy_(torch.tensor([[1.0, 0.0]]))
        direction.middle.fill_(0.55)  # where the paper has it
    embeddings = torch.tensor([[0.6, 0.8], [0.8, 0.6]])  # cosines 0.6 of a human, 0.8 of a machine
    expected = (log(1 + exp(20 * (0.9 - 0.6))) + log(1 + exp(20 * (0.8 - 0.2)))) / 2
    with torch.no_grad():
        ours = class_loss("one-class", direction(embeddings), torch.tensor([0, 1]), ALIKE)
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_ranking_ignores_the_level_of_a_page() -> None:
    by_page = float(page_ranking(logits(-3, -3, 3, 3), LABELS, PAGES))
    assert by_page == pytest.approx(0.6931, abs=1e-3)  # both pages undecided within themselves
    assert float(page_ranking(logits(-6, 0, 0, 6), LABELS, PAGES)) < 0.01


def test_pages_of_one_class_have_nothing_to_rank() -> None:
    assert float(page_ranking(logits(3, -3, 3, -3), LABELS, torch.tensor([0, 1, 2, 3]))) == 0


def test_settings_choose_loss_and_strength_of_ranking() -> None:
    scores = logits(1, -1, 0, 2)
    ranked = training_loss(scores, LABELS, PAGES, UNTAUGHT, ALIKE, Settings(loss="focal", ranking=0.5))
    expected = class_loss("focal", scores, LABELS, ALIKE) + 0.5 * page_ranking(scores, LABELS, PAGES)
    assert float(ranked) == pytest.approx(float(expected))
    alone = training_loss(scores, LABELS, PAGES, UNTAUGHT, ALIKE, Settings(loss="focal", ranking=0))
    assert float(alone) == pytest.approx(float(class_loss("focal", scores, LABELS, ALIKE)))


def test_teaching_applies_only_to_clips_with_a_teacher_score() -> None:
    scores = logits(0.0, 2.0, 5.0, 5.0)
    teacher_log_odds = torch.tensor([0.0, log(3), nan, nan])  # 1/2 and 3/4
    told = -(0.75 * log(1 / (1 + exp(-2))) + 0.25 * log(1 / (1 + exp(2))))
    assert distillation_loss(scores, teacher_log_odds).item() == pytest.approx((log(2) + told) / 2)
    assert distillation_loss(scores, UNTAUGHT).item() == 0
    settings = Settings(ranking=0, teaching=0.5)
    whole = training_loss(scores, LABELS, PAGES, teacher_log_odds, ALIKE, settings)
    plain = training_loss(scores, LABELS, PAGES, UNTAUGHT, ALIKE, settings)
    assert (whole - plain).item() == pytest.approx(0.5 * distillation_loss(scores, teacher_log_odds).item())
