"""What training minimises."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def ranked_cross_entropy(
    logits: Tensor, labels: Tensor, sources: Tensor, ranking: float, label_smoothing: float
) -> Tensor:
    """Return cross entropy plus `ranking` times how badly fakes rank above humans *of their own source*.

    Cross entropy alone is lowered by telling pages apart, since most pages lean to one class. The ranking term (a
    pairwise logistic loss; Burges et al., RankNet, 2005) compares clips of one page only, and there the page says
    nothing. Classes weigh alike because they are drawn alike.

    `logits` is ``(batch, 2)``; `labels` and `sources` are ``(batch,)`` integers.
    """
    loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    log_odds = logits[:, 1] - logits[:, 0]
    same_page = sources[:, None] == sources[None, :]
    pairs = same_page & (labels[:, None] == 1) & (labels[None, :] == 0)
    if ranking == 0 or not bool(pairs.any()):
        return loss
    lead = log_odds[:, None] - log_odds[None, :]
    return loss + ranking * functional.softplus(-lead[pairs]).mean()
