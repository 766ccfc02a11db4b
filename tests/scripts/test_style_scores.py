"""The evaluation of transfers: trivial rows, cheats that must not get a rank, intervals, and memory."""

import gc
import math
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metrics.detectors import efficientnet
from metrics.detectors.base import Detector
from networks.style_transfer.vgg import load_vgg
from scripts import eval_style, style_scores
from scripts.style_scores import COLOURS, CONTENT, STYLE, Judges, evaluate, evaluation_tables, summaries
from torch_utils.files import InputError
from torch_utils.images import from_uint8, to_uint8
from training.style_transfer.textures import smooth_field, texture

SIZE = 128
PAIRS = [(c, s) for c in ("c0", "c1", "c2") for s in ("s0", "s1")]


def content_of(name: str) -> torch.Tensor:
    """Smooth fields with a few edges."""
    i = int(name[1:])
    return in_8_bits(0.7 * smooth_field(SIZE, i, cells=6) + 0.3 * smooth_field(SIZE, 10 + i, cells=4).sign())


def style_of(name: str) -> torch.Tensor:
    i = int(name[1:])
    image = texture(("stripes", "dots")[i], 9 + 3 * i, 30, SIZE, i)[None]
    return in_8_bits(image[0] * torch.tensor([1.5, 1.0, 0.5]).view(3, 1, 1) + 0.1 * i)


def in_8_bits(image: torch.Tensor) -> torch.Tensor:
    """[3, H, W] -> [1, 3, H, W], as read from a file."""
    return from_uint8(to_uint8(image[None]))


@pytest.fixture(scope="module")
def vgg():
    return load_vgg("vgg16")


def flat_detector() -> Detector:
    """Features are the mean colours, 3 numbers, and their squares."""

    def compute(images):
        mean = images.float().mean(dim=(2, 3)) / 255
        return torch.cat([mean, mean**2], dim=1)

    return Detector("colours", 6, "", "none", torch.device("cpu"), compute)


def judged(vgg, transfers: dict, pairs=PAIRS, detector=None, contents=content_of, styles=style_of) -> dict:
    """`evaluate` of functions of content and style, in place of networks."""
    methods = {name: SimpleNamespace(stylize_like=function) for name, function in transfers.items()}
    return evaluate(methods, contents, styles, pairs, Judges(vgg, vgg, detector))


CHEATS = {
    "the content": lambda c, s: c,
    "the style": lambda c, s: s,
    "double exposure": lambda c, s: (c + s) / 2,
    "half and half": lambda c, s: torch.cat([c[..., : SIZE // 2], s[..., SIZE // 2 :]], dim=3),
    "every other square": lambda c, s: torch.where(chequers(), c, s),
    "the mean colour": lambda c, s: s.mean(dim=(2, 3), keepdim=True).expand_as(c),
    "noise": lambda c, s: torch.rand(c.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    "nothing finite": lambda c, s: c * math.nan,
}


def chequers() -> torch.Tensor:
    cells = torch.arange(SIZE) // 16
    return (cells[:, None] + cells) % 2 == 0


def coloured(name: str) -> torch.Tensor:
    """Styles that differ from the contents in their colours alone."""
    red, blue = content_of("c7"), content_of("c8")
    tint = torch.tensor([1.0, -0.3, 0.1] if name == "s0" else [0.2, 0.5, -1.0]).view(3, 1, 1)
    return in_8_bits((0.4 * (red if name == "s0" else blue)[0] + 0.6) * tint)


def test_cheats_have_no_rank(vgg):
    found = judged(vgg, CHEATS, PAIRS[:4])["networks"]
    for name in CHEATS:
        assert found[name]["rank"] is None and found[name]["combined"] >= 1 - 1e-9, (name, found[name]["combined"])


def test_transfers_have_ranks(vgg):
    """Where the colours are the style, a transfer of the colours that keeps the content."""
    recolour = style_scores.recoloured
    transfers = {"some": lambda c, s: c.lerp(recolour(c, s), 0.3), "colours": recolour, "the style": CHEATS["the style"]}
    found = judged(vgg, transfers, PAIRS[:4], styles=coloured)["networks"]
    assert found["the style"]["rank"] is None
    assert found["colours"]["rank"] == 1 and found["some"]["rank"] == 2
    assert found["colours"]["combined"] == pytest.approx(found[COLOURS]["combined"])


def test_trivial_rows(vgg):
    result = judged(vgg, {"double": CHEATS["double exposure"]})
    found = result["networks"]
    assert list(found) == ["double", CONTENT, STYLE, COLOURS]
    content, style = found[CONTENT], found[STYLE]
    assert content["content_distance"] < 1e-6 and content["edges"] == 1
    assert content["structure"] == 0 and content["combined"] == style["combined"] == 1
    assert style["style_distance"] == 0 and style["structure"] == 1 and style["content_distance"] > 0.5
    assert content["rank"] is style["rank"] is found[COLOURS]["rank"] is None and content["seconds"] == 0
    assert found["double"]["seconds"] > 0 and "offline_art_score" not in content and "pictures" not in result
    scores = [pair["scores"]["double"]["style_distance"] for pair in result["pairs"]]
    assert [(p["content"], p["style"]) for p in result["pairs"]] == PAIRS and len(set(scores)) == len(PAIRS)
    low, high = found["double"]["intervals"]["style_distance"]
    assert found["double"]["style_distance"] == pytest.approx(np.mean(scores)) and low < np.mean(scores) < high
    table = evaluation_tables(result)
    assert "| content | – | 1.000 ± 0.000 |" in table and "offline art score" not in table and "| trained on |" in table


def test_offline_art_score_is_a_column_where_there_is_a_detector(vgg):
    result = judged(vgg, {"mean": CHEATS["the mean colour"]}, detector=flat_detector())
    found = result["networks"]
    assert result["pictures"] == dict(outputs=6, styles=2, detector="colours")
    assert found[STYLE]["offline_art_score"] == pytest.approx(1 + found[STYLE]["content_distance"])
    assert found["mean"]["offline_art_score"] == pytest.approx(1 + found["mean"]["content_distance"], rel=1e-3)
    assert found[CONTENT]["offline_art_score"] > 1
    assert "offline art score" in evaluation_tables(result)
    alone = judged(vgg, {}, PAIRS[:1], flat_detector())
    assert "pictures" not in alone  # one picture has no covariance


def test_without_the_extra_the_column_is_left_out(monkeypatch, capsys):
    def missing():
        raise InputError("needs a package that is not here: pip install -e .[offline]")

    monkeypatch.setattr(efficientnet, "find", missing)
    assert eval_style.offline_detector(torch.device("cpu")) is None
    assert "note: no offline art score: needs a package" in capsys.readouterr().err


def row(**changes) -> dict:
    return dict(style_distance=1.0, content_distance=0.0, structure_distance=1.0, edges=1.0, seconds=1.0) | changes


def test_summaries_are_ratios_of_means():
    """A pair whose content is already in the style does not outweigh the others."""
    pairs = [("c0", "s0"), ("c1", "s0")]
    rows = {
        "a": [row(style_distance=0.2, content_distance=0.1), row(style_distance=0.1, content_distance=0.3, seconds=3.0)],
        CONTENT: [row(), row(style_distance=0.0)],
        STYLE: [row(style_distance=0.0, content_distance=0.5, structure_distance=0.0), row(content_distance=1.5)],
        COLOURS: [row(), row()],
    }
    found = summaries(rows, pairs)["a"]
    assert found["combined"] == pytest.approx(0.3 / 1.0 + 0.4 / 2.0) and found["rank"] == 1
    assert found["structure"] == 0 and found["seconds"] == 2
    assert summaries({name: scores[:1] for name, scores in rows.items()}, pairs[:1])["a"]["intervals"] == {}
    rows[CONTENT] = [row(style_distance=0.0)] * 2  # every content is its own style
    assert summaries(rows, pairs)["a"]["rank"] is None


def test_memory_does_not_grow_with_the_pairs(vgg):
    """Images are read when their pair comes, and let go of after it."""
    living: list[weakref.ref] = []

    def reader(make):
        def read(name):
            gc.collect()
            assert sum(ref() is not None for ref in living) <= 4, "images of earlier pairs are still there"
            image = make(name)
            living.append(weakref.ref(image))
            return image

        return read

    pairs = [(f"c{i}", f"s{i % 2}") for i in range(4)]
    judged(vgg, {"the content": CHEATS["the content"]}, pairs, contents=reader(content_of), styles=reader(style_of))
    assert len(living) == 8
