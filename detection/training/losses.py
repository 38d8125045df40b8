"""What training minimises: a loss that tells the classes apart, and a ranking of fakes above humans of their own page.

Every loss is of the log-odds of 'synthetic' (the second logit less the first), and weighs classes by `class_weights`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from detection.models.layers import Direction
from detection.training.settings import LossName, Settings

FOCUS = 2.0
"""Focal loss: the power that makes what is already told right count less, as in its paper."""

MARGIN = Direction.SCALE * Direction.MARGIN
"""One-class softmax: how far, in log-odds, either class is pushed from the middle."""


def training_loss(
    logits: Tensor, labels: Tensor, sources: Tensor, taught: Tensor, class_weights: Tensor, settings: Settings
) -> Tensor:
    """Return the loss that `settings` ask for: `class_loss`, and so strong as they say `page_ranking` and `teaching`.

    `logits` is ``(batch, 2)``; `labels` (1 is synthetic) and `sources` are ``(batch,)`` integers; `taught` is a
    teacher's log-odds, ``(batch,)``, not a number where it has no opinion.
    """
    loss = class_loss(settings.loss, logits, labels, class_weights, settings.label_smoothing)
    if settings.ranking:
        loss = loss + settings.ranking * page_ranking(logits, labels, sources)
    return loss + settings.teaching * teaching(logits, taught) if settings.teaching else loss


def class_loss(
    name: LossName, logits: Tensor, labels: Tensor, class_weights: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over the batch of a window's loss times the weight of its class, ``(2,)``.

    - ``cross-entropy``, its labels smoothed;
    - ``focal``: cross entropy times ``(1 - p) ** 2``, p the probability given to the truth (Lin et al., ICCV 2017);
    - ``one-class``: ``log(1 + exp(margin + log_odds))`` of humans, ``log(1 + exp(margin - log_odds))`` of machines. On
      the logits of `Direction` this is OC-Softmax (Zhang, Jiang, Duan, IEEE SPL 2021, equation 4) with a learnt middle;
      on others it is the same margin without the cone.
    """
    weights = class_weights[labels]
    if name == "one-class":
        wrong_way = (logits[:, 1] - logits[:, 0]) * (1 - 2 * labels)
        return (weights * functional.softplus(MARGIN + wrong_way)).mean()
    if name == "focal":
        surprise = functional.cross_entropy(logits, labels, reduction="none")
        return (weights * (1 - (-surprise).exp()) ** FOCUS * surprise).mean()
    surprise = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return (weights * surprise).mean()


def page_ranking(logits: Tensor, labels: Tensor, sources: Tensor) -> Tensor:
    """Return how badly fakes rank above humans *of their own source*; 0 where no source has both.

    A class loss alone is lowered by telling pages apart, since most pages lean to one class. This one (a pairwise
    logistic loss; Burges et al., RankNet, 2005) compares clips of one page only, and there the page says nothing.
    """
    log_odds = logits[:, 1] - logits[:, 0]
    same_page = sources[:, None] == sources[None, :]
    pairs = same_page & (labels[:, None] == 1) & (labels[None, :] == 0)
    if not bool(pairs.any()):
        return log_odds.new_zeros(())
    lead = log_odds[:, None] - log_odds[None, :]
    return functional.softplus(-lead[pairs]).mean()


def teaching(logits: Tensor, taught: Tensor) -> Tensor:
    """Return the cross entropy to a teacher's probabilities, over windows of which it has an opinion; 0 without any.

    Distillation (Hinton, Vinyals, Dean, 2015) at temperature 1. The teacher must not have trained on the very clip, or
    its opinion is the label again.
    """
    known = taught.isfinite()
    if not bool(known.any()):
        return logits.new_zeros(())
    log_odds = logits[known, 1] - logits[known, 0]
    return functional.binary_cross_entropy_with_logits(log_odds, taught[known].sigmoid())
