"""What a score's name, as `mind5k_full-vgg16`, says of its values, for those who load no metric."""

import re

DISTANCES = ("fid", "fd", "kid", "mind")  # to real images
PATH_LENGTHS = ("ppl2_wend", "ppl")  # these follow how images change, and so need the generator itself
LOSSES = ("style_loss", "content_loss")  # of a style transfer


def is_distance(name: str) -> bool:
    """Whether the least value is of the images that are most like real ones."""
    return _kind(name) in DISTANCES


def lower_is_better(name: str) -> bool:
    """Of precision, coverage, the inception score and the like more is better."""
    return _kind(name) in (*DISTANCES, *PATH_LENGTHS, *LOSSES)


def _kind(name: str) -> str:
    """The name without count and detector."""
    return re.split(r"(?<=[a-z])\d+k", name, maxsplit=1)[0]
