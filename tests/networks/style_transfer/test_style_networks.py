"""VGG, the two style transfers, tiles, descriptors: against formulas, against torchvision, and against hostile files."""

import dataclasses
import json
import urllib.error

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from PIL import Image

from networks.adaconv import adaconv
from networks.style_transfer import vgg
from networks.style_transfer.decoder_init import CONTRAST, init_from_encoder
from networks.style_transfer.descriptor_file import fingerprint, load_descriptor, save_descriptor
from networks.style_transfer.network import LEVELS, LIMITS, StyleTransfer
from networks.style_transfer.style_kernels import StyleKernels, with_statistics
from networks.style_transfer.stylizer import Stylizer, load_stylizer
from networks.style_transfer.vgg import STRIDE, VGG, load_vgg, style_features
from tests.style_fixtures import random_network, random_stylizer, random_vgg, smooth
from torch_utils.checkpoint import build, read_snapshot, save_snapshot
from torch_utils.files import InputError
from torch_utils.images import from_pil, from_uint8, to_uint8
from torch_utils.torchvision_compat import import_torchvision

TRANSFERS = [
    dict(transfer="adaconv"),
    dict(transfer="adain"),
    dict(transfer="adaconv", statistics="exact"),
    dict(transfer="predicted-adain", statistics="exact", padding="reflect", encoder_padding="reflect"),
]


def close(found, wanted, most=1e-4):
    """Of the wanted values' spread, or of one, if that is more."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= most * max(1, wanted.std()), (found - wanted).abs().max()


# ---------------------------------------------------------------- VGG


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_vgg_is_that_of_torchvision(name, tmp_path):
    try:
        vgg = import_torchvision().models.vgg
    except Exception as error:
        pytest.skip(f"torchvision cannot be imported: {error}")
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs[{"vgg16": "D", "vgg19": "E"}[name]])
    for layer in features:
        if isinstance(layer, torch.nn.Conv2d):
            layer.bias.data.normal_(std=0.1)
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, tmp_path / "vgg.pth")
    ours = load_vgg(name, tmp_path / "vgg.pth")
    images = smooth(64, 48)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x, wanted = ((images + 1) / 2 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1), []
    last_of = {"vgg16": (1, 6, 11, 18), "vgg19": (1, 6, 11, 20)}[name]  # relu1_1, relu2_1, relu3_1, relu4_1
    with torch.no_grad():
        for i, layer in enumerate(features[: last_of[-1] + 1]):
            x = layer(x.clone())
            wanted += [x.clone()] * (i in last_of)
        for level, (found, reference) in enumerate(zip(ours(images), wanted)):
            assert found.shape == (1, 64 * 2**level, 64 // 2**level, 48 // 2**level)
            assert torch.allclose(found, reference, rtol=1e-4, atol=1e-5 * reference.std().item())


def test_rescaled_vgg_has_unit_means_and_computes_the_same():
    vgg, other, images = random_vgg(), random_vgg(), smooth(64, 64, n=2)
    means = vgg.mean_activations([images[:1], images[1:]])
    assert torch.allclose(means, vgg.mean_activations([images]), rtol=1e-4)  # whatever the batches
    other.rescale(means)
    after = other.mean_activations([images])
    alive = torch.cat([part > 0.01 * part.mean() for part in means.split([c.out_channels for c in vgg.convolutions])])
    assert alive.float().mean() > 0.9
    assert torch.allclose(after[alive], torch.ones(int(alive.sum())), atol=1e-3)
    assert (after[~alive] <= 1 + 1e-3).all()
    last = means[-512:].clamp(min=0.01 * means[-512:].mean()).view(1, -1, 1, 1)
    close(other(images)[-1] * last, vgg(images)[-1])


def write_weights(path, state):
    safetensors.torch.save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def good_state(name="vgg16"):
    return {key: value.contiguous() for key, value in random_vgg(name).state_dict().items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_encoder_weights_are_read_from_files(tmp_path, suffix):
    path = write_weights(tmp_path / f"vgg{suffix}", {k: v.half() for k, v in good_state().items()} | {"more": torch.ones(1)})
    loaded = load_vgg("vgg16", path)
    assert torch.allclose(loaded.norms(), random_vgg().norms(), rtol=1e-3)
    assert loaded.features[0].weight.dtype == torch.float32


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("features.17.bias"), "no features.17.bias"),
        (
            lambda state: state.update({"features.5.weight": torch.zeros(128, 64, 3, 1)}),
            r"\[128, 64, 3, 1\].*\[128, 64, 3, 3\]",
        ),
        (lambda state: state["features.0.weight"].view(-1)[7:8].fill_(float("nan")), "features.0.weight is not finite"),
        (lambda state: (state.clear(), state.update(good_state("vgg19"))), "features.17.weight"),
    ],
)
def test_wrong_encoder_weights_are_refused(tmp_path, suffix, change, message):
    state = good_state()
    change(state)
    path = write_weights(tmp_path / f"vgg{suffix}", state)
    with pytest.raises(InputError, match=message) as caught:
        load_vgg("vgg16", path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_encoder_weights_are_refused(tmp_path, suffix):
    path = tmp_path / f"vgg{suffix}"
    with pytest.raises(InputError, match="no such file"):
        load_vgg("vgg16", path)
    raw = write_weights(path, good_state()).read_bytes()
    for damaged in (b"", raw[: len(raw) // 2], b"\x80\x04K\x01."):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            load_vgg("vgg16", path)


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), ConnectionResetError("no route"), RuntimeError("no route")]
)
def test_weights_that_cannot_be_fetched(monkeypatch, tmp_path, capsys, error):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    refusal = r"vgg19 could not be fetched.*no route.*vgg19-dcbb9e9d.pth \(575 MB\).*--encoder-weights"
    with pytest.raises(InputError, match=refusal):
        load_vgg("vgg19")
    note = "fetching the weights of vgg19, 575 MB, once; --encoder-weights"
    assert note in capsys.readouterr().err

    def fetch(url, check_hash, weights_only, **named):
        assert check_hash and weights_only
        return good_state(url.split("/")[-1][:5])

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth").touch()  # fetched before: nothing to say
    assert torch.allclose(load_vgg("vgg19").norms(), random_vgg("vgg19").norms())
    assert note not in capsys.readouterr().err


def test_vgg16_is_in_the_checkout(monkeypatch, tmp_path):
    """Nothing is fetched for it, unless somebody has removed the file."""

    def fail(*arguments, **named):
        raise ConnectionResetError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    assert torch.equal(load_vgg("vgg16").norms(), load_vgg("vgg16", vgg.PRETRAINED["vgg16"]).norms())
    monkeypatch.setitem(vgg.PRETRAINED, "vgg16", tmp_path / "gone")
    with pytest.raises(InputError, match="vgg16 could not be fetched"):
        load_vgg("vgg16")


# ---------------------------------------------------------------- networks


def test_sizes_of_the_paper():
    with torch.device("meta"):
        network = StyleTransfer()
    assert network.descriptor_shape == (512, 3, 3)
    linear = network.style_encoder.linear
    assert linear.weight.shape == (512 * 9, 512 * 4 * 4)
    assert linear.weight.numel() + linear.bias.numel() == pytest.approx(37.75e6, rel=1e-3)
    predictors = [sum(p.numel() for p in predictor.parameters()) for predictor in network.predictors]
    assert sum(predictors) == pytest.approx(11.0e6, rel=1e-2)
    assert [(p.out_channels, p.in_per_group) for p in network.predictors] == [(512, 1), (256, 2), (128, 4), (64, 8)]
    kernels = random_network().kernels(torch.randn(2, 4, 3, 3))  # whose scales are the same
    assert [tuple(k.spatial.shape) for k in kernels] == [(2, 512 >> i, 1 << i, 3, 3) for i in range(4)]
    assert [tuple(k.pointwise.shape) for k in kernels] == [(2, 512 >> i, 1 << i) for i in range(4)]


@pytest.mark.parametrize("options", TRANSFERS, ids=str)
def test_batched_styles_are_those_one_at_a_time(options):
    stylizer = random_stylizer(**options)
    styles, contents = smooth(70, 81, seed=1, n=3), smooth(41, 53, n=3)
    descriptors = stylizer.encode_style(styles)
    assert descriptors.shape == (3, *stylizer.network.descriptor_shape)
    images = stylizer.stylize(contents, stylizer.network.kernels(descriptors))
    for i in range(3):
        one = stylizer.encode_style(styles[i : i + 1])
        close(descriptors[i : i + 1], one)
        close(images[i : i + 1], stylizer.stylize(contents[i : i + 1], stylizer.network.kernels(one)), 1e-3)
    assert (
        images[0] - stylizer.stylize(contents[:1], stylizer.network.kernels(descriptors[1:2]))
    ).std() > 0.01  # styles matter


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (17, 40), (256, 256), (301, 257)])
def test_adaptive_style_encoder_takes_any_size(size):
    stylizer = random_stylizer()
    descriptor = stylizer.encode_style(smooth(*size))
    assert descriptor.shape == (1, 4, 3, 3) and descriptor.isfinite().all()
    with torch.no_grad():
        if size == (256, 256):  # where the two forms are the same
            assert torch.equal(random_stylizer(adaptive=False).encode_style(smooth(*size)), descriptor)
        else:
            with pytest.raises(ValueError, match=f"{size[1]}×{size[0]} pixels, wanted 256×256"):
                random_stylizer(adaptive=False).encode_style(smooth(*size))


@pytest.mark.parametrize("size", [(255, 256), (256, 257), (249, 249)])
def test_paper_style_encoder_takes_no_size_that_rounding_would_hide(size):
    with pytest.raises(ValueError, match=f"{size[1]}×{size[0]} pixels, wanted 256×256"):
        random_stylizer(adaptive=False).encode_style(smooth(*size))
    features = torch.zeros(1, 512, 31, 32)
    with pytest.raises(ValueError, match="256×248 pixels, wanted 256×256"):
        random_network(adaptive=False).encode_style(style_features([features]))


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (37, 64)])
def test_any_content_size(size):
    stylizer = random_stylizer()
    kernels = stylizer.network.kernels(stylizer.encode_style(smooth(40, 40, seed=2)))
    image = stylizer.stylize(smooth(*size), kernels)
    assert image.shape == (1, 3, *size) and image.isfinite().all()


@pytest.mark.parametrize("size, tile", [((131, 99), 48), ((73, 166), 40), ((40, 33), 8)])
@pytest.mark.parametrize(
    "options",
    [
        dict(kernel_size=3),
        dict(kernel_size=5),
        dict(kernel_size=5, encoder="vgg19"),
        dict(transfer="adain"),
        dict(transfer="adain", encoder="vgg19"),
        dict(statistics="exact", kernel_size=5),
        dict(statistics="exact", padding="reflect", encoder_padding="reflect"),
        dict(statistics="exact", noise=True),
        dict(transfer="adain", noise=True),
    ],
    ids=str,
)
def test_tiles_equal_the_whole(options, size, tile):
    stylizer = random_stylizer(**options)
    stylizer.network.double(), stylizer.encoder.double()  # so that rounding cannot hide a tile that sees a little too little
    contents = smooth(*size).double()
    kernels = stylizer.network.kernels(stylizer.encode_style(smooth(64, 64, seed=2).double()))
    features = stylizer.encode(contents)
    close(stylizer.encode(contents, tile), features, 1e-10)
    before = features.clone()
    whole = stylizer.stylize(contents, kernels)
    assert whole.shape == contents.shape and whole.std() > 0.01
    close(stylizer.stylize(contents, kernels, tile), whole, 1e-10)
    close(stylizer.decode(features, kernels, size, tile), whole, 1e-10)
    assert torch.equal(features, before)  # tiles work in place, but not on what is the caller's


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
def test_tiles_equal_the_whole_with_real_weights(test_data, transfer):
    vgg = load_vgg("vgg16", test_data / "weights" / "vgg16_to_conv4_1.safetensors")
    with Image.open(sorted((test_data / "data" / "photos").iterdir())[0]) as photo:
        photo = from_uint8(from_pil(photo.convert("RGB").resize((349, 233))))[None]
    stylizer = random_stylizer(transfer)
    stylizer.network.encoder_means.copy_(vgg.mean_activations([photo]))
    vgg.rescale(stylizer.network.encoder_means)
    stylizer.encoder = vgg
    kernels = stylizer.network.kernels(stylizer.encode_style(photo.flip(1)))
    whole = stylizer.stylize(photo, kernels)
    close(stylizer.stylize(photo, kernels, 128), whole)


def adain(content, style, strength=1.0):
    """Huang and Belongie 2017, equation 8, and their equation 14 for the strength."""
    moved = (content - content.mean((2, 3), keepdim=True)) / (content.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    moved = moved * (style.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt() + style.mean((2, 3), keepdim=True)
    return strength * moved + (1 - strength) * content


def decoded(network, x):
    """The decoder alone."""
    for level in network.levels:
        x = level(x)
    return x


def test_adain_is_its_formula():
    stylizer = random_stylizer("adain")
    content, style = stylizer.encode(smooth(48, 40)), stylizer.encode(smooth(64, 32, seed=3))
    kernels = stylizer.network.kernels(stylizer.network.encode_style(style_features([style])))
    close(stylizer.network.decode(content, kernels), decoded(stylizer.network, adain(content, style)))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1.5])
def test_adain_strength_interpolates_features(strength):
    """What `--strength` promises: interpolating descriptors is interpolating features."""
    stylizer = random_stylizer("adain")
    picture, style = to_uint8(smooth(48, 41))[0], smooth(64, 32, seed=3)
    stylizer.strength = strength
    (found,) = stylizer.stylize_picture(picture, [stylizer.encode_style(style)])
    content = stylizer.encode(from_uint8(picture)[None])
    wanted = decoded(stylizer.network, adain(content, stylizer.encode(style), strength))[:, :, :48, :41]
    assert (found.int() - to_uint8(wanted)[0].int()).abs().max() <= 1


def test_adaconv_strength_interpolates_descriptors():
    network = random_network()
    stylizer = Stylizer(network, random_vgg(), strength=0.25, style_size=64)
    picture, other = (to_uint8(smooth(48, 41, seed=seed))[0] for seed in (0, 3))
    style, own = (stylizer.encode_style_picture(x) for x in (other, picture))
    (found,) = stylizer.stylize_picture(picture, [style])
    kernels = stylizer.network.kernels(0.75 * own + 0.25 * style)
    wanted = to_uint8(stylizer.stylize(from_uint8(picture)[None], kernels))[0]
    assert (found.int() - wanted.int()).abs().max() <= 1  # the sum's rounding may show
    full, none, itself = (
        next(Stylizer(network, random_vgg(), strength=strength, style_size=64).stylize_picture(picture, [which]))
        for strength, which in ((1, style), (0, style), (1, own))
    )
    assert torch.equal(none, itself) and not torch.equal(none, full) and not torch.equal(found, full)


@pytest.mark.parametrize("statistics", ["learned", "exact"])
def test_the_strength_of_a_predicted_style(statistics):
    """At strength 0 a picture is drawn in its own style, which the style encoder is asked for, as with AdaConv."""
    picture = to_uint8(smooth(64, 64))[0]
    for transfer in ("adaconv", "predicted-adain"):
        stylizer = random_stylizer(transfer, statistics=statistics)
        stylizer.style_size = 64
        style, own = stylizer.encode_style(smooth(64, 64, seed=3)), stylizer.encode_style_picture(picture)
        (wanted,) = stylizer.stylize_picture(picture, [own])
        stylizer.strength = 0
        (found,) = stylizer.stylize_picture(picture, [style])
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("transfer", ["adaconv", "predicted-adain"])
def test_exact_statistics_are_those_of_the_style(transfer):
    """Whatever the kernels: the map that the style modulates has the style's means and deviations, as with AdaIN."""
    stylizer = random_stylizer(transfer, statistics="exact")
    content, style = stylizer.encode(smooth(64, 48)), stylizer.encode(smooth(64, 72, seed=3))
    first = stylizer.network.kernels(stylizer.encode_style(smooth(64, 72, seed=3)))[0]
    level = stylizer.network.levels[0]
    modulated, plain = (level.modulate(content, k) for k in (first, first._replace(std=None, mean=None)))
    assert torch.allclose(modulated.mean((2, 3)), style.mean((2, 3)), atol=1e-3)
    variance = plain.var((2, 3), correction=0)
    kept = (variance / (variance + 1e-3)).sqrt()  # a channel without any variance cannot be given some
    assert (kept > 0.98).float().mean() > 0.5
    alive = kept > 0.9
    ratio = modulated.std((2, 3), correction=0) / (style.var((2, 3), correction=0) + 1e-5).sqrt()
    assert torch.allclose(ratio[alive], kept[alive], rtol=1e-3)
    assert not torch.allclose(plain.mean((2, 3)), style.mean((2, 3)), atol=1e-2)  # learned ones are others
    flat = [x - x.mean((2, 3), keepdim=True) for x in (modulated, content)]
    alike = F.cosine_similarity(*(x.flatten(2) for x in flat), dim=2)[alive].abs().min()
    assert (
        alike > 0.999 if transfer == "predicted-adain" else alike < 0.9
    )  # a scale keeps a channel's pattern, a kernel does not


def test_with_exact_statistics_the_first_kernels_scale_means_nothing():
    """What is predicted at the first level is structure alone."""
    stylizer = random_stylizer(statistics="exact")
    first = stylizer.network.kernels(stylizer.encode_style(smooth(64, 64, seed=3)))[0]
    scaled = first._replace(pointwise=1.5 * first.pointwise, bias=first.bias + 1)
    level, features = stylizer.network.levels[0], stylizer.encode(smooth(64, 64))
    alive = level.modulate(features, first._replace(std=None, mean=None))[0].std((1, 2)) > 0.5
    assert torch.sub(*(level.modulate(features, one)[:, alive] for one in (first, scaled))).abs().mean() < 0.01
    plain = (one._replace(std=None, mean=None) for one in (first, scaled))
    assert (torch.sub(*(level.modulate(features, one) for one in plain))).abs().mean() > 0.1


def test_with_exact_statistics_kernels_need_not_repeat_what_the_map_says():
    """Identity kernels leave the map of every level after the first as it is: such a network is AdaIN's."""
    network = random_network(statistics="exact")
    for level, (channels, _) in list(zip(network.levels, LEVELS))[1:]:
        x = 3 * torch.randn(2, channels, 8, 8, dtype=torch.float64) + torch.randn(2, channels, 1, 1, dtype=torch.float64)
        spatial = torch.zeros(2, channels, 1, 3, 3, dtype=torch.float64)
        spatial[:, :, :, 1, 1] = 1
        identity = StyleKernels(spatial, torch.ones(2, channels, 1, dtype=torch.float64), x.new_zeros(2, channels))
        close(level.modulate(x, identity), F.interpolate(x, scale_factor=2), 1e-4)


def test_noise_gives_kernels_something_to_draw_with():
    """A flat content stays flat without noise; with it, what is drawn depends on the style, and is the same every time."""
    flat = torch.full((2, 3, 64, 64), 0.3)
    for noise in (False, True):
        stylizer = random_stylizer(padding="reflect", encoder_padding="reflect", noise=noise)
        network, features = stylizer.network, stylizer.encode(flat)
        a, b = (network.kernels(stylizer.encode_style(smooth(64, 64, seed=seed)).expand(2, -1, -1, -1)) for seed in (3, 4))
        drawn = network.decode(features, a)
        assert (drawn.std((2, 3)).min() > 0.01) == noise and torch.equal(drawn, network.decode(features, a))
        close(drawn[0], drawn[1], 1e-5)
        if noise:
            other = network.decode(features, b)
            patterns = [(x - x.mean((2, 3), keepdim=True))[0].flatten() for x in (drawn, other)]
            assert F.cosine_similarity(*patterns, dim=0) < 0.95
            network.train()
            assert not torch.equal(*network.decode(features, a))  # in training every sample has its own


def test_statistics_reach_the_style_encoder():
    """Two styles with the same relu4_1 and other colours below have other descriptors, if statistics are seen."""
    network = random_network(statistics="exact")
    features = style_features(random_vgg()(smooth(64, 64)))
    other = features._replace(mean=features.mean * torch.linspace(1, 2, 960))
    depth = 9 * network.config["style_depth"]
    assert not torch.allclose(*(network.encode_style(style)[:, :depth] for style in (features, other)), atol=1e-3)
    plain = random_network()
    assert torch.equal(plain.encode_style(features), plain.encode_style(other))


def test_reflected_borders_of_vgg_are_those_of_a_reflected_image():
    """Far enough from the new border, features of an image grown by reflection are those of reflected maps."""
    image = smooth(64, 64)
    plain, reflecting = random_vgg(), random_vgg()
    reflecting.padding = "reflect"
    grown = plain(F.pad(image, [32, 32, 32, 32], mode="reflect"))
    close(reflecting(image)[0], grown[0][:, :, 32:96, 32:96])
    assert not torch.allclose(plain(image)[0], reflecting(image)[0], atol=1e-3)
    flat = torch.full((1, 3, 64, 64), 0.3)  # and of a flat image they are flat
    assert all(features.flatten(2).std(dim=2).max() < 1e-4 for features in reflecting(flat))
    assert plain(flat)[3].flatten(2).std(dim=2).max() > 1e-3


def test_statistics_of_another_style():
    """On a white map each channel has the other style's mean and spread, and the first one's structure."""
    network = random_network()
    torch.manual_seed(0)
    structure, other = (network.kernels(torch.randn(1, 4, 3, 3)) for _ in range(2))
    for level, (a, b) in enumerate(zip(structure, other)):
        mixed = with_statistics(a, b)
        white = torch.randn(1, 512 >> level, 150, 150)
        found, wanted, first = (adaconv(white, *kernels[:3]) for kernels in (mixed, b, a))
        assert torch.allclose(found.mean((2, 3)), wanted.mean((2, 3)), atol=0.02 * wanted.std().item())
        assert torch.allclose(found.std((2, 3)), wanted.std((2, 3)), rtol=0.05)
        ratio = first.std((2, 3)) / wanted.std((2, 3))
        assert ((ratio - 1).abs() > 0.2).float().mean() > 0.2  # there was something to change
        together = torch.nn.functional.cosine_similarity(mixed.composed().flatten(2), a.composed().flatten(2), dim=2)
        assert torch.allclose(together, torch.ones_like(together), atol=1e-4)


# ---------------------------------------------------------------- files


@pytest.fixture
def saved(tmp_path):
    """A network, its snapshot, and its encoder's weights."""
    network = random_network()
    save_snapshot(tmp_path / "network-snapshot-000001.safetensors", "style_transfer", network, nimg=1000)
    return network, tmp_path / "network-snapshot-000001.safetensors", write_weights(tmp_path / "vgg.safetensors", good_state())


def test_snapshot_round_trip(saved):
    network, path, weights = saved
    loaded = load_stylizer(path, weights)
    assert loaded.network.config == network.config and not loaded.network.training
    content = smooth(32, 32)
    wanted, found = (s.stylize(content, s.network.kernels(s.encode_style(content))) for s in (random_stylizer(), loaded))
    close(found, wanted, 1e-3)


def test_snapshot_in_half_precision(saved, tmp_path):
    network, path, weights = saved
    network.half()
    save_snapshot(tmp_path / "half.safetensors", "style_transfer", network)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.52 * path.stat().st_size
    half, full = load_stylizer(tmp_path / "half.safetensors", weights), load_stylizer(path, weights)
    assert {tensor.dtype for tensor in half.network.state_dict().values()} == {torch.float32}
    assert fingerprint(half.network) == fingerprint(full.network)
    content = smooth(32, 32)
    close(*(s.stylize(content, s.network.kernels(s.encode_style(content))) for s in (half, full)), 0.05)


def test_other_encoder_weights_are_refused(saved, tmp_path):
    _, path, _ = saved
    foreign = write_weights(tmp_path / "foreign.safetensors", {k: v for k, v in random_vgg(seed=5).state_dict().items()})
    with pytest.raises(InputError, match="trained with other weights of vgg16 than .*foreign"):
        load_stylizer(path, foreign)
    rounded = write_weights(tmp_path / "rounded.safetensors", {k: v.bfloat16() for k, v in good_state().items()})
    load_stylizer(path, rounded)


def test_other_networks_are_refused(saved, tmp_path):
    network, path, weights = saved
    save_snapshot(tmp_path / "other.safetensors", "generator", network)
    with pytest.raises(InputError, match="found a generator, wanted one of train_style.py"):
        load_stylizer(tmp_path / "other.safetensors", weights)
    network.levels[2].convs[0].bias.data[3] = float("nan")
    save_snapshot(path, "style_transfer", network)
    with pytest.raises(InputError, match="levels.2.convs.0.bias is not finite"):
        load_stylizer(path, weights)


HOSTILE = [
    dict(style_depth=10**9),
    dict(style_depth=LIMITS["style_depth"][1] + 1),
    dict(style_depth=0),
    dict(style_depth=-4),
    dict(style_depth=4.0),
    dict(style_depth=True),
    dict(style_depth="4"),
    dict(style_depth=5),
    dict(style_width=10**12),
    dict(style_width=0),
    dict(style_width=None),
    dict(kernel_size=2),
    dict(kernel_size=31),
    dict(kernel_size=-1),
    dict(kernel_size=3.0),
    dict(kernel_size=[3]),
    dict(identity=-1),
    dict(identity=1.5),
    dict(identity=float("nan")),
    dict(identity="all"),
    dict(lr_multiplier=0),
    dict(lr_multiplier=float("inf")),
    dict(lr_multiplier=None),
    dict(adaptive="no"),
    dict(adaptive=2),
    dict(transfer="wct"),
    dict(transfer=["adaconv"]),
    dict(transfer="adain"),  # whose tensors are others
    dict(encoder="vgg13"),
    dict(encoder=["vgg16"]),
    dict(encoder="vgg19"),
    dict(surprise=1),
]


@pytest.mark.parametrize("values", HOSTILE, ids=str)
def test_hostile_configurations_are_refused(saved, values):
    network, path, _ = saved
    snapshot = dataclasses.replace(read_snapshot(path), config=json.loads(json.dumps(network.config | values)))
    with pytest.raises(InputError, match="network-snapshot-000001"):
        build(snapshot, StyleTransfer, LIMITS, path)


@pytest.mark.parametrize("values", [dict(identity=float("nan")), dict(lr_multiplier=-1), dict(kernel_size=7), dict(adaptive=0)])
def test_adain_is_as_strict(values):
    """It uses none of these: they would lie in its snapshots."""
    with pytest.raises(ValueError):
        StyleTransfer("adain", **values)


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
def test_descriptor_files(transfer, tmp_path):
    network = random_network(transfer)
    torch.manual_seed(0)
    descriptor, path = torch.randn(1, *network.descriptor_shape), tmp_path / "style.safetensors"
    save_descriptor(path, descriptor, network)
    raw = path.read_bytes()
    assert torch.equal(load_descriptor(path, network), descriptor)
    save_descriptor(path, descriptor, network)
    assert path.read_bytes() == raw and not list(tmp_path.glob(".*"))

    network.levels[0].convs[0].bias.data[0] += 1
    with pytest.raises(InputError, match="style.safetensors: .*another network"):
        load_descriptor(path, network)
    with pytest.raises(InputError, match="another network"):
        load_descriptor(path, random_network("adain" if transfer == "adaconv" else "adaconv"))


def test_damaged_descriptor_files_are_refused(tmp_path):
    network, path = random_network(), tmp_path / "style.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_descriptor(path, network)
    save_descriptor(path, torch.zeros(1, 4, 3, 3), network)
    raw, header = path.read_bytes(), {"adaconv-style/1": fingerprint(network)}
    whole = safetensors.torch.save({"descriptor": torch.zeros(4, 3, 3)}, header)
    path.write_bytes(whole)
    load_descriptor(path, network)
    for tensors, metadata, message in [
        ({"descriptor": torch.zeros(4, 3, 4)}, header, r"\[4, 3, 4\], wanted \[4, 3, 3\]"),
        ({"descriptor": torch.zeros(4, 3, 3, dtype=torch.float64)}, header, "float64, wanted torch.float32"),
        ({"descriptor": torch.full((4, 3, 3), float("inf"))}, header, "not finite"),
        ({"descriptor": torch.zeros(4, 3, 3), "more": torch.zeros(1)}, header, "no style's descriptor"),
        ({"descriptor": torch.zeros(4, 3, 3)}, {}, "no style's descriptor"),
        ({"descriptor": torch.zeros(4, 3, 3)}, {"adaconv-style/1": ""}, "another network"),
    ]:
        path.write_bytes(safetensors.torch.save(tensors, metadata))
        with pytest.raises(InputError, match=message):
            load_descriptor(path, network)
    for damaged in (b"", raw[:-1], raw[: len(raw) // 2], b"{}"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            load_descriptor(path, network)


def test_fingerprint_knows_every_weight_and_option():
    own = fingerprint(random_network())
    assert own == fingerprint(random_network())
    assert own != fingerprint(random_network(seed=2)) and own != fingerprint(random_network(adaptive=False))
    for name in ("encoder_means", "style_encoder.linear.weight", "levels.3.convs.1.bias"):
        network = random_network()
        network.state_dict()[name].view(-1)[-1].add_(0.5)
        assert fingerprint(network) != own, name


def test_vgg_sees_a_multiple_of_its_stride():
    assert all(VGG(name).halo % STRIDE == 0 for name in ("vgg16", "vgg19"))


# ---------------------------------------------------------------- a decoder that starts as the encoder, backwards


@pytest.mark.parametrize("transfer", ["adaconv", "adain"])
@pytest.mark.parametrize("encoder", ["vgg16", "vgg19"])
def test_a_mirrored_decoder_is_the_transposed_encoder(transfer, encoder):
    vgg = random_vgg(encoder)
    vgg.rescale(vgg.mean_activations([smooth(64, 64)]))
    network = StyleTransfer(transfer, encoder, style_depth=4, style_width=8)
    init_from_encoder(network, vgg, style_features(vgg(smooth(64, 64, n=2))))
    decoder = [conv.weight for level in network.levels for conv in level.convs]
    layers = [conv.weight for conv in reversed(vgg.convolutions)]
    if encoder == "vgg16":  # a layer less, of the 256 channels at a quarter of the size
        extra = decoder.pop(1)
        centre_taps = torch.zeros_like(extra)
        centre_taps[:, :, 1, 1] = torch.eye(256)
        close(extra / extra.max(), centre_taps)
    for ours, theirs in zip(decoder, layers, strict=True):
        # the adjoint, up to a factor: <y, theirs ⊛ x> = <ours ⊛ y, x>
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, theirs.shape[1], 6, 6, generator=generator)
        y = torch.randn(1, theirs.shape[0], 6, 6, generator=generator)
        one = (y * F.conv2d(x, theirs, padding=1)).sum()
        other = (x * F.conv2d(y, ours, padding=1)).sum()
        assert (one / theirs.norm()).item() == pytest.approx((other / ours.norm()).item(), rel=1e-3)


@pytest.mark.parametrize("options", TRANSFERS, ids=str)
def test_a_mirrored_decoder_draws_with_the_contrast_of_photographs(options):
    vgg = random_vgg()
    vgg.rescale(vgg.mean_activations([smooth(64, 64)]))
    network = StyleTransfer(encoder="vgg16", style_depth=4, style_width=8, **options)
    contents = style_features(vgg(smooth(64, 64, n=2)))
    init_from_encoder(network, vgg, contents)
    images = network(contents.relu4_1, network.encode_style(contents))
    assert images.std().item() == pytest.approx(CONTRAST, rel=1e-3)
    close(images.mean(dim=(0, 2, 3)), torch.zeros(3), 1e-4)
