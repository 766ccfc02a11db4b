"""Inception score: how sure a classifier is of each image, and how many classes it sees in all.

Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen, "Improved Techniques for Training GANs", 2016, section 4. It compares
with no real images, so that a generator of one perfect image per class has the best score: read it beside another metric.
"""

import numpy as np
import scipy.special

from metrics.neighbours import as_features

SPLITS = 10


def inception_score(logits, splits: int = SPLITS) -> tuple[float, float]:
    """exp(E KL(p(y|x) || p(y))) of consecutive parts: mean and standard deviation over `splits` parts, for logits [N, K].

    Between 1 and K. The images should come in no particular order. Raises `ValueError` for fewer images than parts.
    """
    logits = as_features(logits, splits)
    scores = []
    for i in range(splits):
        logs = scipy.special.log_softmax(logits[i * len(logits) // splits : (i + 1) * len(logits) // splits], axis=1)
        marginal = scipy.special.logsumexp(logs, axis=0) - np.log(len(logs))  # log p(y); no probability underflows to zero
        scores.append(np.exp((np.exp(logs) * (logs - marginal)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
