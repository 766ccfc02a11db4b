"""Images that are known to be bad, to compare a distance with: blurred real ones, and those of the untrained generator."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from networks.generator import Generator
from torch_utils.rng import mix
from torch_utils.stats import read_jsonl


def blurred(batches: Iterable[torch.Tensor], size: int = 8) -> Iterator[torch.Tensor]:
    """uint8 [N, C, H, W] batches -> the same images with only the detail of `size` x `size` pixels left.

    Averaged down over areas, enlarged bilinearly. A generator that scores no better has learned no detail.
    """
    for images in batches:
        height, width = images.shape[2:]
        small = F.interpolate(images.float(), size=(min(size, height), min(size, width)), mode="area")
        large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
        yield large.round().clamp(0, 255).to(torch.uint8)


def untrained(G: Generator, seed: int) -> Generator:
    """The generator from which a training run with this seed starts, if it starts from no other network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix("weights", seed))
        new = Generator(**G.config).eval().requires_grad_(False)
    return new.to(device=next(G.parameters()).device, memory_format=torch.channels_last)


def recorded_untrained(run_dir: Path, record: dict) -> dict | None:
    """The score at the start in the records of a run that began with an untrained generator, if it was measured in the same way
    as `record`."""
    same = ("metric", "generated", "real", "real_content", "seed", "floor", "detector_hash", "resizing")
    for earlier in read_jsonl(run_dir / f"metric-{record['metric']}.jsonl"):
        if earlier.get("nimg") == 0 and all(earlier.get(key) == record[key] for key in same):
            return earlier
    return None
