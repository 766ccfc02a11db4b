"""What is written is written on this machine: no option takes a URL for a folder `s3:`."""

import click
import pytest

import generate
import train
import train_style
from scripts import card, dataset_tool, directions, ema, export, gen_video, projector, share, style_mixing, trim_margins

WRITTEN = [
    (generate, "--outdir"),
    (train, "--outdir"),
    (train_style, "--outdir"),
    (card, "--out"),
    (card, "--pack"),
    (dataset_tool, "--dest"),
    (directions, "--outdir"),
    (ema, "--out"),
    (export, "--output"),
    (export, "--page"),
    (gen_video, "--output"),
    (projector, "--outdir"),
    (share, "--outdir"),
    (style_mixing, "--outdir"),
    (trim_margins, "--dest"),
]


@pytest.mark.parametrize("module, option", WRITTEN, ids=[f"{module.__name__} {option}" for module, option in WRITTEN])
def test_a_url_is_no_place_to_write_to(module, option, tmp_path):
    (found,) = [param for param in module.main.params if option in param.opts]
    with pytest.raises(click.BadParameter, match="'s3://bucket/new' is a URL; wanted a f.* of this machine"):
        found.type.convert("s3://bucket/new", found, None)
    assert found.type.convert(str(tmp_path / "new.zip"), found, None) == tmp_path / "new.zip"
