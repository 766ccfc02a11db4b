"""stylize.py and generate.py --show-kernels as a user types them: every option by its effect, every mistake by its one line."""

import shutil
import subprocess
import sys

import click
import numpy as np
import pytest
import torch
from PIL import Image, ImageColor, ImageOps
from safetensors.torch import load_file, save_file

import generate
import networks.style_transfer.stylizer
import stylize
import torch_utils.precision
from networks.generator import Generator
from networks.style_transfer.feature_losses import content_loss, moments_loss
from networks.style_transfer.mask import BLUR, Mask
from networks.style_transfer.peers import DEFAULT_STEPS, PEERS, make_peer
from networks.style_transfer.regions import Regions
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from tests.conftest import ROOT
from tests.style_fixtures import random_network, random_vgg, smooth
from torch_utils.checkpoint import read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.images import from_pil, from_uint8, save_png, to_uint8, with_short_side
from torch_utils.table_picture import thumbnail


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A folder with networks, an encoder's weights, two contents and two styles."""
    folder = tmp_path_factory.mktemp("style")
    save_file({name: value.contiguous() for name, value in random_vgg().state_dict().items()}, folder / "vgg.safetensors")
    for name, options in [
        ("adaconv", {}),
        ("adain", {"transfer": "adain"}),
        ("fixed", {"adaptive": False}),
        ("other", {"seed": 9}),
    ]:
        (folder / name).mkdir()
        save_snapshot(folder / name / "network-snapshot-000001.safetensors", "style_transfer", random_network(**options))
    for kind, seeds in (("contents", (0, 1)), ("styles", (2, 3))):
        (folder / kind).mkdir()
        for seed in seeds:
            save_png(folder / kind / f"{kind[0]}{seed}.png", to_uint8(smooth(33 + seed, 41 - seed, seed=seed))[0])
    return folder


@pytest.fixture
def draw(there, tmp_path):
    """draw("--strength", 0.5, …) -> pixels of the first content in the first style, with options that keep tests short."""

    def run(*arguments, network="adaconv", content="contents/c0.png", style="styles/s2.png", output="out.png", **named):
        options = {"--network": there / network, "--encoder-weights": there / "vgg.safetensors", "--device": "cpu"}
        options |= {"--precision": named.get("precision", "fp32")}  # `auto` is not the same on every machine
        options |= {"--content": content and there / content, "--style": style and there / style}
        options |= {"--output": output and tmp_path / output, "--style-size": None if network == "fixed" else 48}
        words = [str(word) for pair in options.items() if pair[1] is not None for word in pair] + [str(a) for a in arguments]
        stylize.main.main(words, standalone_mode=False)
        return pixels(tmp_path / output) if output and output.endswith(".png") else None

    return run


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image).astype(int)


def stored(path) -> torch.Tensor:
    with Image.open(path) as image:
        return from_pil(image.convert("RGB"))


# ---------------------------------------------------------------- what is drawn


def test_works_at_once_after_installation(run_command, tmp_path):
    """Without --network and --encoder-weights: both are in the checkout."""
    for name in ("content", "style"):
        save_png(tmp_path / f"{name}.png", to_uint8(smooth(64, 48))[0])
    pictures = ["--content", tmp_path / "content.png", "--style", tmp_path / "style.png", "--style-size", 48]
    finished = run_command("stylize.py", *pictures, "--output", tmp_path / "out.png", "--device", "cpu")
    assert finished.returncode == 0 and not finished.stderr, finished.stderr
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (48, 64) and np.asarray(image).std() > 1


def test_picture_is_that_of_the_network(draw, there, tmp_path):
    found = draw()
    path = there / "adaconv" / "network-snapshot-000001.safetensors"
    stylizer = load_stylizer(path, there / "vgg.safetensors", style_size=48)
    style = stylizer.encode_style_picture(stored(there / "styles/s2.png"))
    (wanted,) = stylizer.stylize_picture(stored(there / "contents/c0.png"), [style])
    assert found.shape == (33, 41, 3) and found.std() > 5
    assert np.abs(found - wanted.permute(1, 2, 0).numpy()).max() <= 1
    raw = (tmp_path / "out.png").read_bytes()
    draw()
    assert (tmp_path / "out.png").read_bytes() == raw
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert np.abs(draw(network="adain") - found).mean() > 2 and np.abs(draw(network="other") - found).mean() > 2
    assert np.abs(draw(style="styles/s3.png") - found).mean() > 0.2


def test_folders_by_folders_and_the_table(draw, there, tmp_path):
    draw("--table", tmp_path / "tables" / "table.png", content="contents", style="styles", output="many/pictures")
    names = [f"{content}-{style}.png" for content in ("c0", "c1") for style in ("s2", "s3")]
    assert sorted(path.name for path in (tmp_path / "many/pictures").iterdir()) == names
    for name in names:  # the same as alone
        content, style = name.removesuffix(".png").split("-")
        alone = draw(content=f"contents/{content}.png", style=f"styles/{style}.png")
        assert np.abs(pixels(tmp_path / "many/pictures" / name) - alone).max() <= 1
    table = pixels(tmp_path / "tables" / "table.png")
    assert table.shape == (3 * 260 - 4, 3 * 260 - 4, 3)
    heads = {(0, 1): "styles/s2", (0, 2): "styles/s3", (1, 0): "contents/c0", (2, 0): "contents/c1"}
    shown = {place: there / f"{name}.png" for place, name in heads.items()}
    shown |= {(i // 2 + 1, i % 2 + 1): tmp_path / "many/pictures" / name for i, name in enumerate(names)}
    assert (table[:256, :256] == 255).all()
    for (row, column), path in shown.items():
        wanted, small = Image.new("RGB", (256, 256), "white"), thumbnail(stored(path))
        wanted.paste(small, tuple((256 - side) // 2 for side in small.size))
        assert np.array_equal(table[row * 260 :, column * 260 :][:256, :256], np.array(wanted)), path


def test_frames_of_a_video(draw, there, tmp_path, monkeypatch):
    """In order, under their names, and the style is encoded once."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in (2, 10, 1):
        save_png(frames / f"frame{i:04d}.png", to_uint8(smooth(16, 24, seed=i))[0])
    encoded, written = [], []
    encode, save = Stylizer.encode_style_picture, stylize.save_png
    monkeypatch.setattr(Stylizer, "encode_style_picture", lambda self, style: encoded.append(1) or encode(self, style))
    monkeypatch.setattr(stylize, "save_png", lambda path, image: written.append(path.name) or save(path, image))
    draw(content=frames, output="drawn")
    assert written == ["frame0001-s2.png", "frame0002-s2.png", "frame0010-s2.png"] and len(encoded) == 1
    shutil.make_archive(str(tmp_path / "zipped"), "zip", frames)
    draw(content=tmp_path / "zipped.zip", output="drawn too")
    for name in written[:3]:
        assert (tmp_path / "drawn" / name).read_bytes() == (tmp_path / "drawn too" / name).read_bytes()


def test_strength(draw):
    full, half, none = draw(), draw("--strength", 0.5), draw("--strength", 0)
    assert np.array_equal(draw("--strength", 1), full)
    assert np.array_equal(draw("--strength", 0, style="styles/s3.png"), none)  # the style no longer matters
    assert np.abs(none - full).mean() > 0.5
    assert 0 < np.abs(half - full).mean() < np.abs(none - full).mean()


def test_strength_of_the_papers_form(draw):
    """The content is brought to 256×256 as styles are."""
    assert np.abs(draw("--strength", 0, network="fixed") - draw(network="fixed")).mean() > 0.5


def test_mix(draw, there):
    both = ["--style", there / "styles/s3.png", "--mix"]
    first, second = draw(), draw(style="styles/s3.png")
    assert np.array_equal(draw(*both, "1,0"), first) and np.array_equal(draw(*both, "0,7"), second)
    mixed = draw(*both, "1,3")
    assert np.array_equal(draw(*both, "0.5,1.5"), mixed)
    assert np.abs(mixed - second).mean() < np.abs(mixed - first).mean()
    assert np.array_equal(draw("--mix", "1,3", style="styles"), mixed)  # a folder is its images, in order


def test_statistics(draw, there):
    plain, itself = draw(), draw("--statistics", there / "styles/s2.png")
    assert np.abs(itself - plain).max() <= 1
    other = draw("--statistics", there / "styles/s3.png")
    assert np.abs(other - plain).mean() > 0.2 and np.abs(other - draw(style="styles/s3.png")).mean() > 0.05
    none = draw("--strength", 0)
    assert np.abs(draw("--strength", 0, "--statistics", there / "styles/s3.png") - none).max() <= 1


def test_parts(draw, there, tmp_path):
    """Each part moves the picture, all of them make it the other style's, and a style's own parts change nothing."""
    plain, other, s3 = draw(), draw(style="styles/s3.png"), there / "styles/s3.png"
    own = [word for part in ("spatial", "pointwise", "bias") for word in ("--part", f"{part}={there / 'styles/s2.png'}")]
    assert np.array_equal(draw(*own), plain)
    parts = [["--part", f"{part}={s3}"] for part in ("spatial", "pointwise", "bias")]
    alone = [draw(*words) for words in parts]
    assert min(np.abs(one - plain).mean() for one in alone) > 0.05
    assert np.array_equal(draw(*sum(parts, [])), other)
    assert np.abs(draw(*parts[0], "--tile", 16) - alone[0]).max() <= 1
    none, half = draw("--strength", 0), draw(*parts[1], "--strength", 0.5)
    assert np.abs(draw(*parts[1], "--strength", 0) - none).max() <= 1
    assert np.abs(half - alone[1]).mean() > 0.05 and np.abs(half - none).mean() > 0.05
    draw("--show-kernels", tmp_path / "a.png", content=None, output=None)
    draw("--show-kernels", tmp_path / "b.png", *parts[0], content=None, output=None)
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    draw("--save-style", tmp_path / "s.safetensors", style="styles/s3.png")
    assert np.array_equal(draw("--part", f"spatial={tmp_path / 's.safetensors'}"), alone[0])


def test_sizes(draw, tmp_path):
    assert draw("--content-size", 20).shape == (20, 25, 3)
    assert draw("--content-size", 50).shape == (50, 62, 3)
    for size in (16, 48):
        draw("--save-style", tmp_path / f"{size}.safetensors", "--style-size", size, content=None, output=None)
    one, other = (load_file(tmp_path / f"{size}.safetensors")["descriptor"] for size in (16, 48))
    assert one.shape == (4, 3, 3) and not torch.allclose(one, other, atol=1e-3)


def test_default_style_size_is_that_of_training():
    assert {option.name: option.default for option in stylize.main.params}["style_size"] == 256


def test_tiles(draw, monkeypatch):
    whole, sides = draw(), []
    assert np.array_equal(draw("--tile", 0), whole)
    original = networks.style_transfer.stylizer.decode_in_tiles
    record = lambda network, features, kernels, tile: sides.append(tile) or original(network, features, kernels, tile)
    monkeypatch.setattr(networks.style_transfer.stylizer, "decode_in_tiles", record)
    assert np.abs(draw("--tile", 16) - whole).max() <= 1 and sides == [16]
    draw()
    assert sides == [16]  # small enough for the whole
    monkeypatch.setattr(networks.style_transfer.stylizer, "WHOLE", 33 * 41 - 1)
    assert np.abs(draw() - whole).max() <= 1 and sides == [16, 512]
    draw("--tile", 0)
    assert sides == [16, 512]


@pytest.mark.parametrize("arguments", [[], ["--tile", 16], ["--strength", 0.5]])
@pytest.mark.parametrize("network", ["adaconv", "adain"])
def test_precision(draw, tmp_path, monkeypatch, network, arguments):
    """Sixteen bits draw the same picture, but for what random weights make of maps of 5×6; `auto` goes by the machine."""
    plain, coarse = draw(*arguments, network=network), draw(*arguments, network=network, precision="bf16")
    assert 0 < np.abs(coarse - plain).mean() < 3
    assert np.array_equal(draw(*arguments, network=network, precision="tf32"), plain)  # differs on GPUs only
    for fast in (True, False):
        for name in ("has_amx", "has_avx512_bf16"):
            monkeypatch.setattr(torch_utils.precision, name, lambda fast=fast: fast)
        assert np.array_equal(draw(*arguments, network=network, precision=None), coarse if fast else plain)


@pytest.mark.parametrize("network", ["adaconv", "adain"])
def test_saved_styles_are_in_float32_whatever_drew_them(draw, tmp_path, network):
    found = []
    for precision in ("fp32", "bf16"):
        path = tmp_path / f"{precision}.safetensors"
        draw("--save-style", path, content=None, output=None, network=network, precision=precision)
        found.append(load_file(path)["descriptor"])
    assert found[0].dtype == found[1].dtype == torch.float32
    assert 0 < (found[1] - found[0]).abs().mean() < 0.03 * found[0].std()
    drawn = draw(network=network, precision="bf16")
    assert np.abs(draw(style=path, network=network) - drawn).mean() < 3


@pytest.mark.parametrize("network", ["adaconv", "adain", "fixed"])
def test_saved_style_is_the_style(draw, tmp_path, network):
    path = tmp_path / "saved.safetensors"
    drawn = draw("--save-style", path, network=network)
    assert path.stat().st_size < 6000
    assert np.array_equal(draw(style=path, network=network), drawn)


def test_saved_mixture(draw, there, tmp_path):
    mixed = draw("--mix", "1,3", "--save-style", tmp_path / "saved.safetensors", style="styles")
    assert np.array_equal(draw(style=tmp_path / "saved.safetensors"), mixed)
    draw("--table", tmp_path / "table.png", style=tmp_path / "saved.safetensors", output=None)
    head = pixels(tmp_path / "table.png")[:256, 260:]
    assert (head < 100).any() and (head == 255).mean() > 0.9  # its name, as there is no picture of it


def test_kernels_are_shown(draw, there, tmp_path):
    path = tmp_path / "kernels.png"
    shown = lambda *arguments, **named: (
        draw(*arguments, "--show-kernels", path, content=None, output=None, **named) or pixels(path)
    )
    first = shown()
    side, title, margin = (32 * 14, 16 * 14), 34, 12  # 512 kernels of every scale, in 16 rows
    assert first.shape == (2 * (side[1] + title + margin) + margin, 2 * (side[0] + margin) + margin, 3)
    assert not np.array_equal(shown(style="styles/s3.png"), first)
    assert not np.array_equal(shown("--statistics", there / "styles/s3.png"), first)


@pytest.fixture
def mask(tmp_path):
    """mask(41, 33) -> a picture of that size, its left half black, its right half white."""

    def make(width, height, name="mask.png", colours=("black", "white"), mode="RGB", **options):
        image = Image.new(mode, (width, height), colours[0])
        image.paste(colours[1], (width // 2, 0, width, height))
        for i, colour in enumerate(colours[2:]):
            image.putpixel((i, 0), ImageColor.getrgb(colour))
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return make


@pytest.mark.parametrize("network", ["adaconv", "adain"])
def test_regions(draw, there, mask, tmp_path, network):
    """The picture is that of Python, in the order of the styles, and its bytes are the same every time."""
    both = ["--style", there / "styles/s3.png", "--mask", mask(41, 33)]
    found = draw(*both, network=network)
    raw = (tmp_path / "out.png").read_bytes()
    draw(*both, network=network)
    assert (tmp_path / "out.png").read_bytes() == raw
    path = there / network / "network-snapshot-000001.safetensors"
    stylizer = load_stylizer(path, there / "vgg.safetensors", style_size=48)
    styles = torch.cat([stylizer.encode_style_picture(stored(there / f"styles/s{i}.png")) for i in (2, 3)])
    regions = Regions(Mask(stored(mask(41, 33)), 2, BLUR), styles)
    (wanted,) = stylizer.stylize_picture(stored(there / "contents/c0.png"), [regions])
    assert np.abs(found - wanted.permute(1, 2, 0).numpy()).max() <= 1
    swapped = mask(41, 33, "swapped.png", ("white", "black"))
    assert np.abs(draw(*both[:3], swapped, network=network) - found).mean() > 1
    assert np.array_equal(draw(*both, "--mask-blur", 16, network=network), found)
    assert np.abs(draw(*both, "--mask-blur", 0, network=network) - found).mean() > 0.1


def test_one_region_is_the_plain_picture(draw, mask):
    assert np.abs(draw("--mask", mask(41, 33, colours=("teal", "teal"))) - draw()).max() <= 1


def test_regions_with_other_options(draw, there, mask, tmp_path):
    both = ["--style", there / "styles/s3.png", "--mask", mask(41, 33)]
    plain = draw(*both)
    assert np.array_equal(draw("--mask", both[3], style="styles"), plain)  # a folder is its images, in order
    assert np.abs(draw(*both, "--tile", 16) - plain).max() <= 1
    assert np.array_equal(draw(*both[:3], mask(82, 66, "large.png")), plain)
    assert np.array_equal(draw(*both[:3], mask(41, 33, "grey.png", (0, 7), "L")), plain)
    assert draw(*both, "--content-size", 50).shape == (50, 62, 3)
    assert np.abs(draw(*both, "--statistics", there / "styles/s2.png") - plain).mean() > 0.1
    assert np.abs(draw(*both, "--part", f"pointwise={there / 'styles/s2.png'}") - plain).mean() > 0.05
    assert np.abs(draw(*both, "--strength", 0.5) - plain).mean() > 0.1
    draw("--save-style", tmp_path / "s.safetensors", style="styles/s3.png")
    assert np.array_equal(draw("--style", tmp_path / "s.safetensors", "--mask", both[3]), plain)
    draw(*both, "--table", tmp_path / "table.png", output="frames")
    assert pixels(tmp_path / "table.png").shape[:2] == (2 * 260 - 4, 2 * 260 - 4)  # one content, one picture
    assert np.array_equal(pixels(tmp_path / "frames/c0-s2+s3.png"), plain)


def test_one_mask_for_all_frames(draw, there, mask, tmp_path):
    frames = tmp_path / "in"
    frames.mkdir()
    for i in range(3):
        save_png(frames / f"{i}.png", to_uint8(smooth(24, 32, seed=i))[0])
    both = ["--style", there / "styles/s3.png", "--mask", mask(64, 48)]
    draw(*both, content=frames, output="drawn")
    names = [f"{i}-s2+s3.png" for i in range(3)]
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == names
    for i, name in enumerate(names):
        assert np.array_equal(pixels(tmp_path / "drawn" / name), draw(*both, content=frames / f"{i}.png"))
    save_png(frames / "3.png", to_uint8(smooth(32, 24))[0])
    found = "mask.png: for 3.png: found 64×48 pixels, wanted the ratio of the content's 24×32"
    refused(draw, found, *both, content=frames, output="again")
    assert not (tmp_path / "again").exists()


def test_masks_that_are_refused(draw, there, mask, tmp_path):
    both = ["--style", there / "styles/s3.png", "--mask"]
    found = "found 2 colours (#ffffff 51.2 %, #000000 48.8 %), wanted 1, one for each style; JPEG and soft brushes blur"
    refused(draw, found, "--mask", mask(41, 33))
    found = "found 2 colours (#ffffff 51.2 %, #000000 48.8 %), wanted 3, one for each style"
    refused(draw, found, *both, mask(41, 33), style="styles")
    refused(draw, "found 1 colours (#008080 100 %), wanted 2", *both, mask(41, 33, "one.png", ("teal", "teal")))
    rough = mask(41, 33, "rough.jpg", ("black", "white", "red"), quality=50)
    refused(draw, "one for each style; JPEG and soft brushes blur colours, a PNG with hard edges keeps them", *both, rough)
    refused(draw, "wanted the ratio of the content's 41×33", *both, mask(33, 41))
    few = mask(410, 330, "few.png", ("black", "black", "red"))
    refused(draw, "few.png: for c0.png: found no pixel of #ff0000 in it at 41×33", *both, few)
    refused(draw, "gone.png: does not exist", *both, tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("text")
    refused(draw, "found no image in it", *both, tmp_path / "text.png")
    refused(draw, "--mask", *both, there / "contents")
    good = mask(41, 33)
    before = set(tmp_path.rglob("*"))
    for option, value in (
        ("--mix", "1,1"),
        ("--save-style", tmp_path / "s.safetensors"),
        ("--show-kernels", tmp_path / "k.png"),
    ):
        refused(draw, f"{option}: is for one style, and --mask is for one in each region", *both, good, option, value)
    refused(draw, "want --content", *both, good, content=None)
    refused(draw, "--mask-blur: wants --mask", "--mask-blur", 3)
    refused(draw, "nan is not a number", *both, good, "--mask-blur", "nan")
    refused(draw, "--mask-blur", *both, good, "--mask-blur", "-1")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_other_kinds_of_images(draw, there, tmp_path, mode):
    """As if they had been turned into RGB before, over white."""
    with Image.open(there / "contents/c0.png") as image:
        image = image.convert("L") if mode in ("L", "LA", "1") else image
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.convert(mode)
    image.save(tmp_path / "given.png")
    flat = Image.new("RGBA", image.size, "white")
    flat.alpha_composite(image.convert("RGBA"))
    flat.convert("RGB").save(tmp_path / "flat.png")
    assert np.abs(draw(content=tmp_path / "given.png") - draw(content=tmp_path / "flat.png")).mean() < 0.6


def test_tiny_and_turned_images(draw, tmp_path):
    Image.new("RGB", (1, 1), "teal").save(tmp_path / "dot.png")
    assert draw(content=tmp_path / "dot.png", style=tmp_path / "dot.png").shape == (1, 1, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 24), "teal").save(tmp_path / "turned.jpg", exif=exif)
    assert draw(content=tmp_path / "turned.jpg").shape == (40, 24, 3)


def test_run_directories_and_their_folder(draw, there, tmp_path):
    run_dir = tmp_path / "runs" / "00003-adaconv"
    shutil.copytree(there / "adaconv", run_dir)
    assert np.array_equal(draw(network=tmp_path / "runs"), draw())


# ---------------------------------------------------------------- peers


@pytest.mark.parametrize("peer", [["wct"], ["patch-swap"], ["fitted", "--peer-steps", 6], ["gatys", "--peer-steps", 2]])
def test_peers(draw, there, tmp_path, peer):
    """What the peer draws on the network, and the same again; strength and tables are for them, too."""
    found = draw("--transfer", *peer, network="adain")
    stylizer = load_stylizer(there / "adain" / "network-snapshot-000001.safetensors", there / "vgg.safetensors", style_size=48)
    method = make_peer(peer[0], stylizer, peer[-1] if len(peer) > 1 else None)
    style = method.encode_style_picture(stored(there / "styles/s2.png"))
    (wanted,) = method.stylize_picture(stored(there / "contents/c0.png"), [style])
    assert found.shape == (33, 41, 3) and np.abs(found - wanted.permute(1, 2, 0).numpy()).max() <= 1
    raw = (tmp_path / "out.png").read_bytes()
    assert np.abs(found - draw(network="adain")).mean() > 0.8
    table = ["--table", tmp_path / "table.png"]
    draw("--transfer", *peer, *table, network="adain", content="contents", style="styles", output="many")
    draw("--transfer", *peer, network="adain")
    assert (tmp_path / "out.png").read_bytes() == raw and len(list((tmp_path / "many").iterdir())) == 4
    assert np.abs(pixels(tmp_path / "many/c0-s2.png") - found).max() <= 1 and (tmp_path / "table.png").exists()
    assert np.abs(draw("--transfer", *peer, "--strength", 0, network="adain") - found).mean() > 0.5


def test_steps_of_gatys(draw):
    few, more = (draw("--transfer", "gatys", "--peer-steps", steps, network="fixed") for steps in (1, 4))
    assert np.abs(few - more).mean() > 0.2  # and a network whose style encoder takes one size only has an encoder, too


def test_fitted_kernels_of_the_papers_style_encoder(draw, tmp_path):
    """Which takes 256×256 pixels only; the style has any size."""
    few, more = (draw("--transfer", "fitted", "--peer-steps", steps, "--style-size", 256, network="fixed") for steps in (1, 3))
    assert np.abs(few - more).mean() > 0.01 and few.shape == (33, 41, 3)
    refused(draw, "256×256 pixels only", "--transfer", "fitted", "--style-size", 255, network="fixed")


def test_a_search_shows_how_far_it_is(draw, monkeypatch):
    shown = []
    monkeypatch.setattr(stylize.Progress, "update", lambda self, done: shown.append(done))
    draw("--transfer", "fitted", "--peer-steps", 2, style="styles", output="out")
    assert shown == [0.5, 1, 1, 1.5, 2, 2]


def test_the_networks_own_transfer_may_be_named(draw):
    assert np.array_equal(draw("--transfer", "adain", network="adain"), draw(network="adain"))


def test_gatys_in_automatic_precision_is_float32(draw, monkeypatch):
    monkeypatch.setattr(torch_utils.precision, "has_amx", lambda: True)
    options = ["--transfer", "gatys", "--peer-steps", 2]
    assert np.array_equal(draw(*options, precision=None), draw(*options))


# ---------------------------------------------------------------- mistakes


def refused(draw, message, *arguments, **named):
    with pytest.raises((InputError, click.ClickException)) as caught:
        draw(*arguments, **named)
    text = caught.value.format_message() if isinstance(caught.value, click.ClickException) else str(caught.value)
    assert message in text, text


def test_what_does_not_go_together(draw, there, tmp_path):
    before = set(tmp_path.rglob("*"))
    table, kernels, saved = (tmp_path / name for name in ("t.png", "k.png", "s.safetensors"))
    refused(draw, "nothing to do", content=None, output=None)
    refused(draw, "wanted --output or --table", "--save-style", saved, output=None)
    refused(draw, "want --content", "--table", table, content=None, output=None)
    refused(draw, "want --content", content=None)
    refused(draw, "--save-style: found 2 styles", "--save-style", saved, style="styles")
    refused(draw, "--show-kernels: found 2 styles", "--show-kernels", kernels, style="styles")
    refused(draw, "--statistics: found 2 styles", "--statistics", there / "styles")
    for option, path in (("--show-kernels", kernels), ("--statistics", there / "styles/s3.png")):
        refused(draw, f"{option}: ", option, path, network="adain")
        refused(draw, "predicts no kernels", option, path, network="adain")
    spatial = f"spatial={there / 'styles/s3.png'}"
    refused(draw, "--part: ", "--part", spatial, network="adain")
    refused(draw, "--part spatial: found 2 styles", "--part", f"spatial={there / 'styles'}")
    for text in ("spatial", "spatial=", "texture=a.png", "a.png"):
        refused(draw, f"--part {text}: wanted PART=STYLE", "--part", text)
    refused(draw, "spatial comes from", "--part", spatial, "--part", spatial)
    refused(draw, "--part moments: ", "--part", spatial.replace("spatial", "moments"))  # of a network without exact ones
    bias = ["--part", spatial.replace("spatial", "bias"), "--statistics", there / "styles/s3.png"]
    refused(draw, "--part bias: comes from --statistics already", *bias)
    refused(draw, "none.png", "--part", "bias=none.png")
    refused(draw, "--style-size 48: the style encoder of", "--style-size", 48, network="fixed")
    refused(draw, "256×256 pixels only", "--style-size", 255, network="fixed")
    refused(draw, "--mix: found 2 weights for 1 styles", "--mix", "1,1")
    for weights in ("0,0", "-1,2", "a,1", "nan,1", "inf,1", "1,,1", ""):
        refused(draw, "does not read as weights", "--mix", weights, style="styles")
    refused(draw, "2 contents in 1 styles, wanted a folder", content="contents")
    refused(draw, "wanted a folder for them, or a .png", output="out.jpg")
    refused(draw, "--strength 0.5: wants --content", "--strength", 0.5, "--show-kernels", kernels, content=None, output=None)
    refused(draw, "--strength 2: wants --content", "--strength", 2, "--save-style", saved, content=None, output=None)
    for option in ("--content", "--style", "--statistics", "--mask", "--network"):
        url = "https://example.org/a.png"
        refused(draw, f"'{option}': '{url}' is a URL; wanted a file", option, url)
    refused(draw, "--part bias=s3://a/b.png: is a URL", "--part", "bias=s3://a/b.png")
    refused(draw, "'--strength': nan is not a number", "--strength", "nan")
    refused(draw, "--strength", "--strength", "-0.1")
    refused(draw, "--tile", "--tile", "-1")
    refused(draw, "--content-size", "--content-size", "0")
    refused(draw, "--device", "--device", "abacus")
    refused(draw, "is a directory", "--table", there, output=None)
    assert set(tmp_path.rglob("*")) == before


def test_what_peers_do_not_do(draw, there, tmp_path):
    before = set(tmp_path.rglob("*"))
    kernels, saved = tmp_path / "k.png", tmp_path / "s.safetensors"
    for name in PEERS:
        peer = ["--transfer", name]
        others = ("--mix", "1"), ("--statistics", there / "styles/s3.png"), ("--save-style", saved), ("--show-kernels", kernels)
        others += (("--part", f"bias={there / 'styles/s3.png'}"),)
        for option, value in others:
            message = f"{option}: is for predicted kernels and saved descriptors, which --transfer {name} does not have"
            refused(draw, message, *peer, option, value, network="adain")
        message = f"descriptor.safetensors: --transfer {name} takes images of styles"
        refused(draw, message, *peer, style=tmp_path / "descriptor.safetensors", network="adain")
        if name not in DEFAULT_STEPS:
            refused(draw, f"{name}: found a network of adaconv, wanted one of train_style.py --transfer adain", *peer)
            refused(draw, "--peer-steps: wanted --transfer fitted or gatys", *peer, "--peer-steps", 3, network="adain")
    refused(draw, "--tile: --transfer gatys optimises a picture as a whole", "--transfer", "gatys", "--tile", 0)
    refused(draw, "bf16: --transfer gatys computes in float32", "--transfer", "gatys", precision="bf16")
    refused(
        draw, "was trained for adaconv, and without training there are wct, patch-swap, fitted, gatys", "--transfer", "adain"
    )
    refused(draw, "--peer-steps: wanted --transfer fitted or gatys", "--peer-steps", 3)
    refused(draw, "'nothing' is not one of", "--transfer", "nothing")
    assert set(tmp_path.rglob("*")) == before


def test_names_that_clash(draw, tmp_path):
    (tmp_path / "same").mkdir()
    for name in ("a.png", "A.bmp"):
        Image.new("RGB", (8, 8)).save(tmp_path / "same" / name)
    refused(draw, "two pictures would be", content=tmp_path / "same", output="drawn")
    (tmp_path / "long").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "long" / f"{'x' * 220}.png")
    refused(draw, "too long", content=tmp_path / "long", output="drawn")
    (tmp_path / "nested/deep").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "nested/deep/a.png")
    draw(content=tmp_path / "nested", output="drawn")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["deep-a-s2.png"]


def test_no_file_is_written_twice_or_over_one_that_is_read(draw, there, tmp_path):
    own, style = tmp_path / "own.png", tmp_path / "st.png"
    shutil.copy(there / "contents/c0.png", own)
    shutil.copy(there / "styles/s2.png", style)
    shutil.copytree(there / "styles", tmp_path / "styles")
    shutil.copytree(there / "adaconv", tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    named = dict(content=own, style=style)
    refused(draw, "x.png: is written for --output already", "--table", tmp_path / "x.png", output="x.png")
    refused(draw, "X.png: is written for --output already", "--table", tmp_path / "X.png", output="x.png")
    refused(draw, "o.png: is written for --table", "--table", own.parent / "o.png", "--show-kernels", own.parent / "o.png")
    refused(draw, f"own.png: is the file of --content {own}", output="own.png", **named)
    refused(draw, f"st.png: is the file of --style {style}", "--table", style, **named)
    refused(draw, "is the file of --style", "--table", tmp_path / "run" / ".." / "st.png", **named)
    refused(draw, "is the file of --part", "--part", f"spatial={own}", "--show-kernels", own, style=style)
    refused(draw, "is the file of --statistics", "--statistics", own, "--show-kernels", own, style=style)
    (snapshot,) = (tmp_path / "run").iterdir()
    refused(draw, "is the file of --network", "--save-style", snapshot, network=tmp_path / "run")
    refused(draw, "is the file of --encoder-weights", "--save-style", there / "vgg.safetensors")
    named = dict(style=tmp_path / "styles", output="o")
    refused(draw, "is one of the files of --style", "--table", tmp_path / "styles/s3.png", **named)
    draw(content=own, style=style, output="pictures")
    shutil.copy(own, tmp_path / "pictures" / "own.png")
    refused(draw, "own-st.png: is one of the files of --content", output="pictures", content=tmp_path / "pictures", style=style)
    shutil.rmtree(tmp_path / "pictures")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_a_mask_is_not_written_over(draw, there, tmp_path):
    mask = tmp_path / "mask.png"
    halves = Image.new("RGB", (41, 33))
    halves.paste("white", (20, 0, 41, 33))
    halves.save(mask)
    refused(draw, "is the file of --mask", "--mask", mask, "--table", mask, style="styles")
    with Image.open(mask) as image:
        assert image.size == (41, 33)


def test_too_many_cells(draw, monkeypatch, tmp_path):
    monkeypatch.setattr(stylize, "MAX_CELLS", 8)
    refused(
        draw, "--table: found 2 × 2 pictures", "--table", tmp_path / "t.png", content="contents", style="styles", output=None
    )


def test_absurd_sizes(draw, tmp_path):
    Image.new("RGB", (2, 4000)).save(tmp_path / "thread.png")
    refused(draw, "thread.png: would have 4000×8000000 pixels", "--content-size", 4000, content=tmp_path / "thread.png")
    refused(draw, "thread.png: would have 500×1000000 pixels", "--style-size", 500, style=tmp_path / "thread.png")
    (tmp_path / "frames").mkdir()
    save_png(tmp_path / "frames" / "a.png", torch.zeros(3, 16, 16, dtype=torch.uint8))
    (tmp_path / "thread.png").rename(tmp_path / "frames" / "thread.png")
    own = ["--strength", 0.5, "--style-size", 500]  # the content's own descriptor is of that size
    frames = dict(content=tmp_path / "frames", output="drawn")
    refused(draw, f"--strength 0.5: {tmp_path / 'frames'}: thread.png: would have 500×1000000 pixels", *own, **frames)
    assert not (tmp_path / "drawn").exists()
    draw("--strength", 0.5, network="adain", **frames)  # which reads it off the features
    (tmp_path / "frames" / "thread.png").rename(tmp_path / "thread.png")
    assert draw("--content-size", 2, content=tmp_path / "thread.png").shape == (4000, 2, 3)


def test_missing_and_foreign_files(draw, there, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    refused(draw, "gone: does not exist", content=gone)
    refused(draw, "gone.png: does not exist", style=tmp_path / "gone.png")
    refused(draw, "gone: no such network file", network=gone)
    refused(draw, "gone: no such file with an encoder's weights", "--encoder-weights", gone)
    refused(draw, "gone.safetensors: no such file with a style's descriptor", style=tmp_path / "gone.safetensors")
    refused(draw, "by name there are: adaconv-style", network=gone)
    monkeypatch.setattr("torch_utils.pretrained.PRETRAINED", gone)
    refused(draw, "give one that train_style.py wrote with --network", network=gone)
    draw("--save-style", tmp_path / "s.safetensors")
    refused(draw, "another network", style=tmp_path / "s.safetensors", network="other")
    save_file({n: v.contiguous() for n, v in random_vgg(seed=4).state_dict().items()}, tmp_path / "vgg.safetensors")
    refused(draw, "trained with other weights of vgg16", "--encoder-weights", tmp_path / "vgg.safetensors")


def test_one_line_and_nothing_left(run_command, there, tmp_path):
    """A damaged frame is found before the first is drawn; the damage is behind a good header."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        save_png(frames / f"{i}.png", to_uint8(smooth(64, 64, seed=i))[0])
    raw = (frames / "2.png").read_bytes()
    arguments = ["--network", there / "adaconv", "--encoder-weights", there / "vgg.safetensors", "--device", "cpu"]
    arguments += ["--content", frames, "--style", there / "styles/s2.png", "--style-size", 48, "--output", tmp_path / "out"]
    arguments += ["--table", tmp_path / "other/table.png", "--save-style", tmp_path / "s.safetensors"]
    for damaged in (raw[: len(raw) // 2], b"", b"text"):
        (frames / "2.png").write_bytes(damaged)
        finished = run_command("stylize.py", *arguments)
        assert finished.returncode == 2, finished.stderr
        assert finished.stderr.startswith(f"error: {frames}: 2.png: found") and finished.stderr.count("\n") == 1, (
            finished.stderr
        )
        assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    (frames / "2.png").write_bytes(raw)
    finished = run_command("stylize.py", *arguments)
    assert finished.returncode == 0 and "\nwritten: " in finished.stdout, finished.stderr
    assert len(list((tmp_path / "out").iterdir())) == 3 and not finished.stderr


# ---------------------------------------------------------------- memory

PEAK = """
import resource, sys
sys.path.insert(0, {root!r})
import stylize
stylize.main.main(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the peak in other units")
def test_four_megapixels_in_four_gigabytes(there, tmp_path):
    save_png(tmp_path / "large.png", to_uint8(smooth(2048, 2048))[0])
    arguments = ["--network", there / "adaconv", "--encoder-weights", there / "vgg.safetensors", "--device", "cpu"]
    arguments += ["--content", tmp_path / "large.png", "--style", there / "styles/s2.png", "--output", tmp_path / "out.png"]
    finished = subprocess.run(
        [sys.executable, "-c", PEAK.format(root=str(ROOT)), *map(str, arguments)], capture_output=True, text=True, timeout=1800
    )
    assert finished.returncode == 0, finished.stderr
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (2048, 2048)
    assert int(finished.stdout.splitlines()[-1]) * 1024 <= 4e9, finished.stdout


# ---------------------------------------------------------------- generate.py --show-kernels


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generators")
    for modulation in ("adaconv", "demod", "adain"):
        torch.manual_seed(0)
        G = Generator(16, channel_base=256, channel_max=16, z_dim=8, style_depth=2, modulation=modulation)
        save_snapshot(folder / f"{modulation}.safetensors", "generator", G)
    return folder


def test_kernels_of_a_generator(generators, tmp_path):
    def shown(*arguments, seeds="3", network="adaconv"):
        words = ["--seeds", seeds, "--outdir", tmp_path / "out", "--network", generators / f"{network}.safetensors"]
        words += ["--device", "cpu", "--show-kernels", tmp_path / "new" / "kernels.png", *arguments]
        generate.main.main([str(word) for word in words], standalone_mode=False)
        return pixels(tmp_path / "new" / "kernels.png")

    first = shown()
    # 5 layers of 16 channels, 8 in a group: 128 kernels, 4 rows in a panel; 3 panels side by side
    assert first.shape == (2 * (4 * 14 + 34 + 12) + 12, 3 * (32 * 14 + 12) + 12, 3)
    assert (tmp_path / "out/seed0003.png").exists()
    assert np.array_equal(shown(), first) and not np.array_equal(shown(seeds="4"), first)
    assert np.array_equal(shown("--trunc", 0), shown("--trunc", 0, seeds="4"))  # both are the mean style
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError, match="--show-kernels: found 2 seeds, wanted one"):
        shown(seeds="3,4")
    for modulation in ("demod", "adain"):
        with pytest.raises(InputError, match=f"predicts no kernels: its modulation is {modulation}"):
            shown(network=modulation)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- the network that is committed


def test_the_pretrained_stylizer_stylises(test_data):
    """Held-out photographs come nearer to a painting than they were, and stay nearer to themselves than the painting is."""
    path = ROOT / "pretrained" / "adaconv-style.safetensors"
    assert path.stat().st_size <= 12e6
    assert not any(name.startswith("encoder.") for name in read_snapshot(path).tensors)  # VGG is not in it
    stylizer = load_stylizer(path, test_data / "weights" / "vgg16_to_conv4_1.safetensors")

    def square(name: str) -> torch.Tensor:
        with Image.open(test_data / "data" / name) as image:  # without the frames of the paintings
            return from_uint8(from_pil(ImageOps.fit(image.convert("RGB"), (256, 256), bleed=0.1))[None])

    content = square("photos/053_tajMahal.jpg")
    of_content, found = stylizer.encoder(content), []
    for name in ("012_board2", "013_board", "014_board1"):
        style = square(f"paintings/{name}.jpg")
        drawn = stylizer.stylize(content, stylizer.network.kernels(stylizer.encode_style(style)))
        of_drawn, of_style = stylizer.encoder(drawn.clamp(-1, 1)), stylizer.encoder(style)
        styles = moments_loss(of_drawn, of_style), moments_loss(of_content, of_style)
        contents = content_loss(of_drawn, of_content), content_loss(of_style, of_content)
        found.append([*styles, *contents])
    style_of_drawn, style_of_content, content_of_drawn, content_of_style = torch.tensor(found).mean(dim=0)
    print(style_of_drawn, style_of_content, content_of_drawn, content_of_style)
    assert style_of_drawn < 0.25 * style_of_content
    assert content_of_drawn < 0.7 * content_of_style


def test_the_pretrained_stylizer_draws_the_same_in_sixteen_bits(test_data):
    weights, drawn = test_data / "weights" / "vgg16_to_conv4_1.safetensors", []
    photo, painting = (stored(test_data / "data" / name) for name in ("photos/053_tajMahal.jpg", "paintings/013_board.jpg"))
    for precision in ("fp32", "bf16"):
        stylizer = load_stylizer(ROOT / "pretrained" / "adaconv-style.safetensors", weights, "cpu", precision)
        drawn += stylizer.stylize_picture(with_short_side(photo, 128), [stylizer.encode_style_picture(painting)])
    assert 0 < (drawn[0].float() - drawn[1].float()).abs().mean() < 0.5  # of 255; about 0.2 was found
    features = [stylizer.encoder(from_uint8(image[None])) for image in (*drawn, with_short_side(painting, 256))]
    one, other = (moments_loss(found, features[-1]).item() for found in features[:2])
    assert one == pytest.approx(other, rel=0.02)
