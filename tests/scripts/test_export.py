"""Networks as files: held to PyTorch, run without this project, and scored by another judge."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from metrics.fid import frechet_distance
from networks.generator import Generator
from scripts import export
from scripts.exporting.graphs import Stylizing, generator_graph, keep_halves
from tests.metrics.test_fid import reference_package
from tests.style_fixtures import random_network, random_vgg, smooth
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, save_snapshot
from torch_utils.files import InputError
from torch_utils.images import to_uint8

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def save_network(folder, **options):
    """A small network with weights in half precision, and as load_generator reads it again."""
    torch.manual_seed(0)
    G = Generator(8, channel_base=64, channel_max=16, z_dim=8, style_depth=2, **options).eval()
    for p in G.synthesis.parameters():
        torch.nn.init.normal_(p, std=0.7)
    G.mapping.w_avg.normal_()
    with torch.no_grad():
        spread = G.synthesis(G.mapping.w_avg.repeat(1, G.num_ws, 1)).std()
        for layer in G.synthesis.to_rgb:
            layer.weight /= 2 * spread  # images about [-1, 1], as those of a trained network
            layer.bias /= 2 * spread
    path = folder / "network.safetensors"
    save_snapshot(path, "generator", G, half=True, label_names=["cat", "dog", "</script>"][: options.get("c_dim", 0)])
    return path, load_generator(path)


def written(folder, network, suffix, *words):
    output = folder / f"network{suffix}"
    return output, call(export.main, "--network", network, "--output", output, *words)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional")
    path, G = save_network(folder, c_dim=3)
    return *written(folder, path, ".onnx"), G


@pytest.fixture(scope="module")
def uint8(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uint8")
    path, G = save_network(folder, modulation_options={"padding": "reflect", "demodulate": True})
    return *written(folder, path, ".onnx", "--uint8"), G


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_onnx_draws_as_pytorch_does(conditional, batch):
    path, _, G = conditional
    run = session(path).run
    z, c = torch.randn(batch, 8), torch.eye(3)[torch.arange(batch) % 3]
    feeds = {"z": z.numpy(), "c": c.numpy()}
    for psi in (None, 0.0, 0.5, 1.3):
        (images,) = run(["images"], feeds | ({} if psi is None else {"truncation_psi": np.array(psi, np.float32)}))
        wanted = G(z, c, truncation_psi=1 if psi is None else psi)
        assert images.dtype == np.float32 and wanted.std() > 0.1
        torch.testing.assert_close(torch.from_numpy(images), wanted, rtol=0, atol=1e-4)


def test_what_the_command_says(conditional):
    path, said, _ = conditional
    assert f"written: {path}" in said and "largest difference" in said and "onnxruntime" in said


def test_integers_are_those_of_png_files(uint8):
    path, _, G = uint8
    z = torch.randn(16, 8)
    (images,) = session(path).run(None, {"z": z.numpy()})
    assert images.dtype == np.uint8
    difference = (torch.from_numpy(images).int() - to_uint8(G(z)).int()).abs()
    assert difference.max() <= 1 and difference.float().mean() < 0.001  # a value on the edge between two levels


def ancestors(model, name):
    """Operators between a value and what it comes from, and the names of the latter."""
    makers = {output: node for node in model.graph.node for output in node.output}
    operators, ends, waiting = Counter(), set(), [name]
    while waiting:
        name = waiting.pop()
        if name in makers:
            operators[makers[name].op_type] += 1
            waiting += makers[name].input
        else:
            ends.add(name)
    return operators, ends


@pytest.mark.parametrize("kind", ["conditional", "uint8"])
def test_weights_of_convolutions_lie_in_the_file(kind, request):
    model = onnx.load(request.getfixturevalue(kind)[0])
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) >= 5  # of the predictors, and after them
    for node in convolutions:
        operators, ends = ancestors(model, node.input[1])
        assert ends <= set(stored) and not set(operators) - {"Cast"}, f"{node.name}: {operators} of {ends}"
    halves = sum(kind == onnx.TensorProto.FLOAT16 for kind in stored.values())
    assert halves >= 5  # the larger ones; small ones are computed in advance


def test_metadata(conditional):
    path, _, G = conditional
    found = session(path).get_modelmeta().custom_metadata_map
    assert found["kind"] == "generator" and found["source"] == "network.safetensors" and len(found["source_sha256"]) == 64
    assert found["range"] == "about -1 to 1" and json.loads(found["classes"]) == ["cat", "dog", "</script>"]


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "networks", "torch_utils", "scripts", "onnx"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
z, c = np.load(sys.argv[2]).values()
np.save(sys.argv[3], session.run(None, {"z": z, "c": c})[0])
assert "torch" not in sys.modules
"""


def test_onnx_runs_without_this_project(conditional, tmp_path):
    path, _, G = conditional
    z, c = torch.randn(2, 8), torch.eye(3)[:2]
    np.savez(tmp_path / "in.npz", z=z.numpy(), c=c.numpy())
    words = [sys.executable, "-I", "-c", ALONE, path, tmp_path / "in.npz", tmp_path / "out.npy"]
    subprocess.run(list(map(str, words)), cwd=tmp_path, check=True, timeout=120)
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "out.npy")), G(z, c), rtol=0, atol=1e-4)


PROGRAM_ALONE = """
import sys
sys.path = [path for path in sys.path if path]
import torch
notes = {"adaconv.json": ""}
program = torch.export.load(sys.argv[1], extra_files=notes).module()
assert '"kind": "generator"' in notes["adaconv.json"]
given = torch.load(sys.argv[2])
torch.save([program(**inputs) for inputs in given], sys.argv[3])
assert not [name for name in sys.modules if name.split(".")[0] in ("networks", "torch_utils", "scripts")]
"""


def test_torch_export_runs_without_this_project(tmp_path):
    network, G = save_network(tmp_path, c_dim=3)
    path, said = written(tmp_path, network, ".pt2")
    assert "torch.export of PyTorch" in said
    draw = lambda n: {"z": torch.randn(n, 8), "c": torch.eye(3)[torch.arange(n) % 3], "truncation_psi": torch.tensor(0.7)}
    given = [draw(n) for n in (1, 3, 16)]
    torch.save(given, tmp_path / "in.pt")
    words = [sys.executable, "-I", "-c", PROGRAM_ALONE, path, tmp_path / "in.pt", tmp_path / "out.pt"]
    subprocess.run(list(map(str, words)), cwd=tmp_path, check=True, timeout=200)
    for inputs, found in zip(given, torch.load(tmp_path / "out.pt")):
        wanted = G(inputs["z"], inputs["c"], truncation_psi=0.7)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("modulation, mode", [("demod", "random"), ("demod", "none"), ("bank", "none"), ("none", "none")])
def test_noise_and_modulations(tmp_path, modulation, mode):
    network, G = save_network(tmp_path, modulation=modulation)
    path, _ = written(tmp_path, network, ".onnx", "--part", "synthesis", "--noise-mode", mode)
    ws = G.mapping(torch.randn(1, 8)).repeat(64, 1, 1)
    run = session(path).run
    draw = lambda: torch.from_numpy(run(None, {"ws": ws.numpy()})[0])
    images = draw()
    if mode == "none":
        torch.testing.assert_close(images, G.synthesis(ws, "none"), rtol=0, atol=1e-4)
        return
    torch.manual_seed(0)
    wanted = G.synthesis(ws, "random")
    assert not torch.equal(images, draw()) and not torch.equal(images[0], images[1])
    assert images.std(dim=0).mean() == pytest.approx(wanted.std(dim=0).mean().item(), rel=0.1)
    assert (images.mean(dim=0) - wanted.mean(dim=0)).abs().mean() < 3 * wanted.std(dim=0).mean() / 8


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_parts_of_kernels_alone(tmp_path, suffix):
    network, _ = save_network(tmp_path, modulation_options=dict(parts="bias"))
    _, said = written(tmp_path, network, suffix)  # draws several batches, and compares
    assert "largest difference" in said


def test_the_noise_of_a_network_without_noise(tmp_path):
    network, _ = save_network(tmp_path, noise=False)
    path, _ = written(tmp_path, network, ".onnx", "--noise-mode", "random")
    assert session(path).get_modelmeta().custom_metadata_map["noise_mode"] == "none"


def test_a_file_that_draws_otherwise_is_not_kept(tmp_path, monkeypatch):
    network, _ = save_network(tmp_path)
    monkeypatch.setattr("scripts.exporting.check.TOLERANCE", -1.0)
    with pytest.raises(InputError, match="does not draw as the network does"):
        written(tmp_path, network, ".pt2", "--part", "mapping")
    assert [path.name for path in tmp_path.iterdir()] == ["network.safetensors"]


@pytest.mark.parametrize(
    "words, problem",
    [
        ([], "nothing to do"),
        (["--output", "x.pb"], "wanted a name that ends with .onnx or .pt2"),
        (["--output", "x.onnx", "--format", "torch"], "wanted a name that ends with .pt2"),
        (["--output", "x.onnx", "--network", "emoji512"], "by name there are: adaconv-style, emoji32"),
        (["--output", "x.onnx", "--network", "adaconv-style", "--part", "mapping"], "--part: is for generators"),
        (["--output", "x.onnx", "--part", "mapping", "--noise-mode", "random"], "--noise-mode random: is of pictures"),
        (["--page", "x", "--network", "adaconv-style"], "--page: is for generators"),
        (["--page", "x", "--uint8"], "--uint8: is for the file of --output"),
        (["--output", "x.onnx", "--encoder-weights", "y"], "has no encoder"),
        (["--output", "x.onnx", "--network", "vgg16_to_conv4_1"], "wanted 'adaconv/1'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(words, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=problem):
        call(export.main, *words)
    assert not list(tmp_path.iterdir())


def test_halves_stay_halves():
    G = Generator(8, channel_base=64, channel_max=16, z_dim=8, style_depth=2).eval()
    with torch.no_grad():
        G.synthesis.const.copy_(G.synthesis.const.half())
    graph = generator_graph(G)
    wanted = graph.module(**graph.inputs)
    keep_halves(graph.module)
    assert torch.equal(graph.module(**graph.inputs), wanted)
    halves = [name for name, p in graph.module.named_parameters() if p.dtype == torch.float16]
    assert any("const" in name for name in halves) and not any("conv.parametrizations.weight" in name for name in halves)


# ---------------------------------------------------------------- the judge


def features(images):
    """uint8 [N, 3, 8, 8] -> [N, 6]: a stand-in for a network, which rounds nothing away."""
    matrix = torch.randn(192, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (images.flatten(1).double() / 255) @ matrix


def test_torch_fidelity_scores_the_file_as_we_do(uint8):
    """The same samples get the same score up to the rounding of a matrix root. PyTorch's samples differ from those of the file
    in a level of 255 at few pixels: that moves each feature by less than a thousandth of its deviation."""
    reference_package("torch_fidelity")
    import torch_fidelity as fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class StandIn(FeatureExtractorBase):
        def __init__(self, name, features_list, **options):
            super().__init__(name, features_list)

        get_provided_features_list = staticmethod(lambda: ("all",))
        get_default_feature_layer_for_metric = staticmethod(lambda metric: "all")
        can_be_compiled = staticmethod(lambda: False)

        def forward(self, images):
            assert images.dtype == torch.uint8  # as the networks of judges want it
            return (features(images),)

    path, _, G = uint8
    if "stand-in" not in fidelity.registry.FEATURE_EXTRACTORS_REGISTRY:
        fidelity.register_feature_extractor("stand-in", StandIn)
    reals = torch.randint(256, (300, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    scores = fidelity.calculate_metrics(
        input1=str(path),
        input1_model_z_size=8,
        input1_model_num_samples=300,
        input2=Pictures(reals),
        feature_extractor="stand-in",
        fid=True,
        cuda=False,
        save_cpu_ram=True,
        batch_size=64,
        rng_seed=3,
        cache=False,
        verbose=False,
    )
    theirs = scores["frechet_inception_distance"]
    z = torch.from_numpy(np.random.RandomState(3).randn(300, 8)).float()
    from_file = torch.from_numpy(session(path).run(None, {"z": z.numpy()})[0])
    ours = [frechet_distance(*moments_of(features(reals)), *moments_of(features(x))) for x in (from_file, to_uint8(G(z)))]
    assert theirs > 0.1
    assert ours[0] == pytest.approx(theirs, rel=1e-6)
    assert ours[1] == pytest.approx(theirs, rel=1e-3)


class Pictures(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


def moments_of(x):
    x = x.numpy()
    return x.mean(axis=0), np.cov(x, rowvar=False)


# ---------------------------------------------------------------- the stylizer


def stylizing(transfer, **options):
    """As PyTorch draws, and as the graph that is exported does."""
    from networks.style_transfer.stylizer import Stylizer

    network = random_network(transfer, **options)
    encoders = [random_vgg(), random_vgg()]
    for encoder in encoders:
        encoder.padding = network.encoder_padding
    return Stylizer(network, encoders[0]), Stylizing(network, encoders[1], "const")


@pytest.mark.parametrize("size", [(40, 48), (33, 61), (9, 16)])
@pytest.mark.parametrize(
    "options",
    [
        dict(transfer="adaconv", statistics="exact", padding="reflect", encoder_padding="reflect"),
        dict(transfer="adaconv", padding="zeros", kernel_size=5),
        dict(transfer="predicted-adain"),
        dict(transfer="adain"),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_the_graph_of_a_stylizer(options, size):
    stylizer, graph = stylizing(**options)
    contents, style = smooth(*size, n=2), smooth(50, 37, seed=1)
    descriptor = stylizer.encode_style(style)
    own = stylizer.encode_style(contents)
    for strength in (1.0, 0.4, 0.0):
        wanted = stylizer.stylize(contents, stylizer.network.kernels(own.lerp(descriptor.expand_as(own), strength)))
        drawn = graph(contents, style, torch.tensor(strength))
        torch.testing.assert_close(drawn, wanted, rtol=0, atol=5e-4)  # without AVX-512 they were 2e-4 apart


def test_stored_noise(monkeypatch):
    stylizer, graph = stylizing("adaconv", noise=True)
    contents, style = smooth(24, 300), smooth(40, 40, seed=1)
    drawn = lambda: stylizer.stylize_like(contents, style)
    other = drawn()
    monkeypatch.setattr(stylizer.network, "noise_maps", lambda features: graph.noise(features))
    wanted = drawn()
    torch.testing.assert_close(graph(contents, style), wanted, rtol=0, atol=1e-4)
    assert (other - wanted).abs().max() > 0.01  # another pattern than PyTorch's
    assert graph.noise(torch.zeros(1, 1, 3, 40))[3].shape == (1, 1, 24, 320)
    graph.noise.noise_mode = "none"
    assert graph.noise(torch.zeros(1, 1, 3, 40)) == [None] * 4


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_stylizers_as_files(tmp_path, suffix):
    from safetensors.torch import save_file

    vgg = random_vgg()
    network = random_network(vgg=vgg, statistics="exact", padding="reflect", encoder_padding="reflect", noise=True)
    save_snapshot(tmp_path / "style.safetensors", "style_transfer", network, half=True)
    save_file({name: value.contiguous() for name, value in vgg.state_dict().items()}, tmp_path / "vgg.safetensors")
    words = ["--network", tmp_path / "style.safetensors", "--encoder-weights", tmp_path / "vgg.safetensors"]
    path = tmp_path / f"style{suffix}"
    call(export.main, *words, "--output", path)
    graph = Stylizing(*export.load_both(tmp_path / "style.safetensors", tmp_path / "vgg.safetensors"), "const")
    if suffix == ".onnx":
        run = session(path).run
        draw = lambda **inputs: torch.from_numpy(run(None, {name: x.numpy() for name, x in inputs.items()})[0])
        model = onnx.load(path)
        for node in [node for node in model.graph.node if node.op_type == "Conv"]:
            assert not set(ancestors(model, node.input[1])[0]) - {"Cast"}
    else:
        program = torch.export.load(path).module()
        draw = lambda **inputs: program(**{"strength": torch.tensor(1.0)} | inputs)
    sizes = [(1, (72, 80), 1, (80, 90)), (3, (83, 101), 3, (150, 301)), (16, (65, 72), 1, (70, 66))]
    if suffix == ".onnx":
        sizes += [(1, (64, 64), 1, (64, 64)), (3, (33, 61), 3, (50, 37)), (16, (17, 24), 1, (40, 40))]
    for n, size, styles, style_size in sizes:
        inputs = dict(content=smooth(*size, n=n), style=smooth(*style_size, seed=1, n=styles))
        with torch.no_grad():
            torch.testing.assert_close(draw(**inputs), graph(**inputs), rtol=0, atol=1e-4)
            half = torch.tensor(0.5)
            torch.testing.assert_close(draw(**inputs, strength=half), graph(**inputs, strength=half), rtol=0, atol=1e-4)
