"""Scores of style transfers over pairs of a content and a style, beside rows that no network is needed for."""

import math
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from metrics.detectors.base import Detector
from metrics.style_transfer.baselines import recoloured
from metrics.style_transfer.combined import combined_distance, ranks
from metrics.style_transfer.content_distance import LAYER, content_distance
from metrics.style_transfer.offline_art_score import offline_art_score
from metrics.style_transfer.pair_bootstrap import interval, pair_weights
from metrics.style_transfer.ssim import edge_ssim
from metrics.style_transfer.structure import distance, stroke_descriptors
from metrics.style_transfer.style_distance import LAYERS, between, slices
from metrics.style_transfer.vgg_layers import relu_maps
from networks.style_transfer.feature_losses import content_loss, gram_distance, moments_loss
from networks.style_transfer.peers import Method
from networks.style_transfer.vgg import VGG
from scripts.benchmarks.timing import timed
from scripts.output import markdown
from torch_utils.cli import Progress
from torch_utils.images import from_uint8, to_uint8

CONTENT, STYLE, COLOURS = "content", "style", "content in the style's colours"
TRIVIAL = (CONTENT, STYLE, COLOURS)  # the rows beside the networks
COLUMNS = {
    "combined": "combined distance",
    "style_distance": "style distance",
    "content_distance": "content distance",
    "edges": "SSIM of edges",
    "structure": "structure score",
    "offline_art_score": "offline art score",
    "seconds": "s / image",
}
WITH_INTERVALS = ("combined", "style_distance", "content_distance")  # in the table; the JSON file has those of all means
TRAINED_ON = {"content_loss": "content loss", "style_loss": "moments loss", "gram": "Gram distance"}

Reader = Callable[[str], torch.Tensor]  # a name -> its image [1, 3, H, W] in [-1, 1]


class Judges(NamedTuple):
    """The networks that scores are computed with, the same for all rows."""

    vgg: VGG  # VGG-16 with its weights as they are
    trained_on: VGG  # the encoder, as it was rescaled, whose features the trained-on columns compare
    detector: Detector | None = None  # of the offline art score


def evaluate(
    stylizers: Mapping[str, Method],
    contents: Reader,
    styles: Reader,
    pairs: list[tuple[str, str]],
    judges: Judges,
    keep: Callable[[int, dict[str, torch.Tensor]], None] | None = None,
) -> dict:
    """{"pairs": scores of each, "networks": summary of each row, "pictures": counts of the offline art score}, for JSON.

    Pictures are read and drawn pair by pair: memory grows with the numbers that come out, and not with the pictures. `keep`
    gets each pair's position and the pictures of all rows, uint8 [1, 3, H, W].
    """
    rows: dict[str, list[dict]] = {name: [] for name in (*stylizers, *TRIVIAL)}
    features: dict[str, list[torch.Tensor]] = {name: [] for name in rows}
    bar = Progress("pairs", len(pairs), "pair")
    for i, (content_name, style_name) in enumerate(pairs):
        content, style = contents(content_name), styles(style_name)
        drawn = {name: timed_stylize(stylizer, content, style) for name, stylizer in stylizers.items()}
        drawn |= {CONTENT: (content, 0.0), STYLE: (style, 0.0), COLOURS: (recoloured(content, style), 0.0)}
        outputs = {name: to_uint8(image) for name, (image, _) in drawn.items()}  # as files have them
        if keep:
            keep(i, outputs)
        for name, scores in score_pair(outputs, content, style, judges).items():
            rows[name].append(scores | dict(seconds=drawn[name][1]))
            if judges.detector:
                features[name].append(judges.detector(outputs[name]))
        bar.update(i + 1)
    bar.close()
    found = summaries(rows, pairs)
    result = dict(
        pairs=[dict(content=c, style=s, scores={name: rows[name][i] for name in rows}) for i, (c, s) in enumerate(pairs)],
        networks=found,
    )
    if judges.detector and len(pairs) > 1:
        for name, scores in found.items():
            images = torch.cat(features[name]), torch.cat(features[STYLE])
            scores["offline_art_score"] = offline_art_score(scores["content_distance"], *images)
        result["pictures"] = dict(outputs=len(pairs), styles=len({s for _, s in pairs}), detector=judges.detector.name)
    return result


def timed_stylize(stylizer: Method, content: torch.Tensor, style: torch.Tensor) -> tuple[torch.Tensor, float]:
    """-> the image, and seconds for both encoders and the decoder."""
    images = []
    seconds = timed(lambda: images.append(stylizer.stylize_like(content, style)), content.device)
    return images[0], seconds


@torch.no_grad()
def score_pair(
    outputs: Mapping[str, torch.Tensor], content: torch.Tensor, style: torch.Tensor, judges: Judges
) -> dict[str, dict]:
    """Of outputs uint8 [1, 3, H, W]; content and style [1, 3, H, W] in [-1, 1] -> scores by name."""
    maps = lambda image: relu_maps(judges.vgg, image, (*LAYERS, LAYER))
    of_content, of_style = judges.trained_on(content), judges.trained_on(style)
    content_map, style_slices = maps(content)[-1], [slices(x) for x in maps(style)[:-1]]
    style_strokes = stroke_descriptors(style)
    found = {}
    for name, output in outputs.items():
        image = from_uint8(output)
        *style_maps, output_map = maps(image)
        features = judges.trained_on(image)
        values = dict(
            style_distance=between([slices(x) for x in style_maps], style_slices),
            content_distance=content_distance(output_map, content_map),
            edges=edge_ssim(image, content),
            structure_distance=distance(stroke_descriptors(image), style_strokes),
            content_loss=content_loss(features, of_content),
            style_loss=moments_loss(features, of_style),
            gram=gram_distance(features, of_style),
        )
        found[name] = {key: float(value) for key, value in values.items()}
    return found


def summaries(rows: dict[str, list[dict]], pairs: list[tuple[str, str]]) -> dict[str, dict]:
    """Name of a row -> means over the pairs, what follows from them, 95 % intervals of these, and the rank."""
    found: dict[str, dict] = {}
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # where every content is in its style: infinite, or NaN; without a rank
        once = weighted_means(rows, np.ones((1, len(pairs))))
        drawn = weighted_means(rows, pair_weights(pairs))
        for name, means in once.items():
            found[name] = {key: float(value[0]) for key, value in means.items()}
            found[name]["intervals"] = {key: interval(value) for key, value in drawn[name].items()} if len(pairs) > 1 else {}
    for name in found:
        found[name]["seconds"] = float(np.median([row["seconds"] for row in rows[name]]))  # the first pair is slower
    networks = [name for name in rows if name not in TRIVIAL]
    ranked = ranks({name: found[name]["combined"] for name in networks})
    return {name: scores | dict(rank=ranked.get(name)) for name, scores in found.items()}


def weighted_means(rows: dict[str, list[dict]], weights: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """[draws, pairs] -> for each row the means [draws] of each score, the structure score and the combined distance.

    The latter two are ratios of means, so that a pair of a content and a style that are nearly equal does not outweigh others.
    """
    mean = lambda name, key: weights @ np.array([row[key] for row in rows[name]]) / weights.sum(axis=1)
    keys = [key for key in next(iter(rows.values()))[0] if key != "seconds"]
    found = {name: {key: mean(name, key) for key in keys} for name in rows}
    content, style = found[CONTENT], found[STYLE]
    for means in found.values():
        ends = content["style_distance"], style["content_distance"]
        means["combined"] = combined_distance(means["style_distance"], means["content_distance"], *ends)
        means["structure"] = 1 - means["structure_distance"] / content["structure_distance"]
    return found


def evaluation_tables(found: dict) -> str:
    """Markdown: the scores, and below them those that training minimises."""
    networks = found["networks"]
    columns = {key: head for key, head in COLUMNS.items() if any(key in scores for scores in networks.values())}
    heads = ["", "rank", *columns.values()]
    rows = [[name, scores["rank"] or "–", *(cell(scores, key) for key in columns)] for name, scores in networks.items()]
    trained = [[name, *(cell(scores, key) for key in TRAINED_ON)] for name, scores in networks.items()]
    heads_trained = ["trained on", *TRAINED_ON.values()]
    return f"{markdown(heads, rows)}\n\n{markdown(heads_trained, trained)}"


def over_networks(networks: Mapping[str, dict], kinds: Mapping[str, str]) -> dict[str, dict]:
    """Of rows of `evaluate`, for each kind with several of them, such as networks of different seeds: their number, and for
    each score the mean, the least and the largest. `kinds`: row -> kind."""
    found = {}
    for kind in dict.fromkeys(kinds.values()):
        rows = [networks[name] for name, of in kinds.items() if of == kind]
        if len(rows) > 1:
            values = {key: [row[key] for row in rows] for key in (*COLUMNS, *TRAINED_ON) if key in rows[0]}
            ends = {key: (statistics.fmean(of), min(of), max(of)) for key, of in values.items()}
            found[kind] = dict(networks=len(rows), scores=ends)
    return found


def kinds_table(found: dict[str, dict]) -> str:
    """Markdown, of `over_networks`."""
    columns = {key: head for key, head in COLUMNS.items() if all(key in of["scores"] for of in found.values())}
    rows = [
        [f"{of['networks']} × {kind}", *("{:.3f} ({:.3f} to {:.3f})".format(*of["scores"][key]) for key in columns)]
        for kind, of in found.items()
    ]
    return markdown(["mean (least to largest)", *columns.values()], rows)


def cell(scores: dict, key: str) -> str:
    value, ends = scores[key], scores["intervals"].get(key)
    if key == "seconds" and not value:
        return ""
    half = f" ± {(ends[1] - ends[0]) / 2:.3f}" if key in WITH_INTERVALS and ends and not math.isnan(value) else ""
    return f"{value:.3f}{half}"
