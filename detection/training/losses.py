"""Training losses: a classification loss, a ranking of synthetic above human clips of one page, and distillation.

All losses use the log-odds of 'synthetic' (second logit minus first); the classification loss weights the classes.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from detection.models.layers import Direction
from detection.training.settings import LossName, Settings

FOCUS = 2.0
"""Exponent of the focal loss, as in the paper."""

MARGIN = Direction.SCALE * Direction.MARGIN
"""Margin of the one-class softmax in log-odds, on either side of the middle."""


def training_loss(
    logits: Tensor, labels: Tensor, sources: Tensor, teacher_log_odds: Tensor, class_weights: Tensor, settings: Settings
) -> Tensor:
    """Return the loss of `settings`: `class_loss`, plus weighted `page_ranking` and `distillation_loss`.

    `logits` is ``(batch, 2)``; `labels` (1 is synthetic) and `sources` are ``(batch,)`` integers; `teacher_log_odds`
    has a teacher's log-odds, ``(batch,)``, NaN where unknown.
    """
    loss = class_loss(settings.loss, logits, labels, class_weights, settings.label_smoothing)
    if settings.ranking:
        loss = loss + settings.ranking * page_ranking(logits, labels, sources)
    return loss + settings.teaching * distillation_loss(logits, teacher_log_odds) if settings.teaching else loss


def class_loss(
    name: LossName, logits: Tensor, labels: Tensor, class_weights: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over the batch of each window's loss, times the weight of its class, ``(2,)``.

    - ``cross-entropy``, with label smoothing;
    - ``focal``: cross entropy times ``(1 - p) ** 2``, p the probability of the true class (Lin et al., ICCV 2017);
    - ``one-class``: ``log(1 + exp(margin + log_odds))`` for human, ``log(1 + exp(margin - log_odds))`` for synthetic
      windows. With the logits of `Direction` this is OC-Softmax (Zhang, Jiang, Duan, IEEE SPL 2021, equation 4) with a
      learnt middle; with others it is the same margin without the cone.
    """
    weights = class_weights[labels]
    if name == "one-class":
        wrong_way = (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)
        return (weights * functional.softplus(MARGIN + wrong_way)).mean()
    if name == "focal":
        entropy = functional.cross_entropy(logits, labels, reduction="none")
        return (weights * (1 - (-entropy).exp()) ** FOCUS * entropy).mean()
    entropy = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return (weights * entropy).mean()


def page_ranking(logits: Tensor, labels: Tensor, sources: Tensor) -> Tensor:
    """Return the loss of ranking synthetic above human windows *of the same source*; 0 where no source has both.

    A classification loss alone rewards recognising pages, because most pages have more clips of one class. This
    pairwise logistic loss (Burges et al., RankNet, 2005) compares clips of one page only, where the page is no cue.
    """
    log_odds = logits[:, 1] - logits[:, 0]
    same_page = sources[:, None] == sources[None, :]
    pairs = same_page & (labels[:, None] == 1) & (labels[None, :] == 0)
    if not bool(pairs.any()):
        return log_odds.new_zeros(())
    lead = log_odds[:, None] - log_odds[None, :]
    return functional.softplus(-lead[pairs]).mean()


def distillation_loss(logits: Tensor, teacher_log_odds: Tensor) -> Tensor:
    """Return the cross entropy to a teacher's probabilities, over the windows where these are known; else 0.

    Distillation (Hinton, Vinyals, Dean, 2015) at temperature 1. The teacher must not have been trained on the clip, or
    it would only repeat the label.
    """
    known = teacher_log_odds.isfinite()
    if not bool(known.any()):
        return logits.new_zeros(())
    log_odds = logits[known, 1] - logits[known, 0]
    return functional.binary_cross_entropy_with_logits(log_odds, teacher_log_odds[known].sigmoid())
