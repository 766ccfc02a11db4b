"""What a score's name, as `mind5k_full-vgg16`, says of its values, and what its record says of its worth."""

import re
from collections.abc import Collection

DISTANCES = ("fid", "fd", "kid", "mind")  # to real images
PATH_LENGTHS = ("ppl2_wend", "ppl")  # these follow how images change, and so need the generator itself
LOSSES = ("style_loss", "content_loss")  # of a style transfer
NOT_INDEPENDENT = "not independent: training has looked at these features"


def is_distance(name: str) -> bool:
    """Whether the least value is of the images that are most like real ones."""
    return _kind(name) in DISTANCES


def lower_is_better(name: str) -> bool:
    """Of precision, coverage, the inception score and the like more is better."""
    return _kind(name) in (*DISTANCES, *PATH_LENGTHS, *LOSSES)


def mark_seen(records: list[dict], seen: Collection[str]) -> list[dict]:
    """Records of scores, each with `independent`: false where training has looked at its detector's features."""
    return [record | dict(independent=record.get("detector") not in seen) for record in records]


def caveat(record: dict) -> str:
    """What is said beside a score of this record, or "". Records without a mark are older than any training that needs one."""
    return NOT_INDEPENDENT if record.get("independent") is False else ""


def _kind(name: str) -> str:
    """The name without count and detector."""
    return re.split(r"(?<=[a-z])\d+k", name, maxsplit=1)[0]
