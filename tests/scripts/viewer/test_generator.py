"""What the generator's page shows, and the commands that draw it again, without a page."""

import asyncio
import shlex

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import generate
from networks.directions import find_directions
from networks.generator import PARTS
from networks.sampling import draw_seed
from scripts import style_mixing
from scripts.viewer import markup
from scripts.viewer.look import MAX_SEED, Look, look_of
from scripts.viewer.open_network import OpenNetwork
from scripts.viewer.recipe import STYLES, as_ranges, recipe
from tests.scripts.viewer.networks import save_generator
from tests.training.run.test_start import call
from torch_utils.directions_file import save_directions
from torch_utils.files import InputError

KINDS = {
    "plain": {},
    "classes": dict(c_dim=3, names=["cat", "-dog", "2"]),
    "numbers": dict(c_dim=2),
    "demod": dict(modulation="demod"),
    "none": dict(modulation="none"),
    "bias": dict(modulation_options=dict(parts="bias")),
}
LAYERS = st.lists(st.integers(0, 5), max_size=3, unique=True).map(tuple)  # there are five: 5 belongs to another network
SEEDS = st.integers(0, 3)
LOOKS = st.builds(
    Look,
    seed=st.one_of(SEEDS, st.just(MAX_SEED)),
    seed_to=SEEDS,
    position=st.sampled_from([0, 0, 0.25, 1]),
    psi=st.sampled_from([1, 0.7, 0, 1.3]),
    cutoff=st.sampled_from([None, 0, 2, 5]),
    label=st.sampled_from([None, "-dog", "2", "1"]),
    noise_mode=st.sampled_from(["const", "random", "none"]),
    mix_seed=SEEDS,
    mix_layers=LAYERS,
    part_seeds=st.dictionaries(st.sampled_from(PARTS), SEEDS, max_size=2),
    part_layers=LAYERS,
    amounts=st.sampled_from([(), (0, 0, 0), (0, 1.5, -0.05)]),
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generators")
    return {kind: OpenNetwork(save_generator(folder / f"{kind} 1.safetensors", **options)) for kind, options in KINDS.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drawn_by_command(network, look, folder) -> bytes:
    """The file that the line on the page makes, typed in a folder that has the file of styles."""
    made = recipe(network, look, device="cpu")
    if made.styles:
        (folder / STYLES).write_bytes(made.styles)
    program, *words = shlex.split(made.line)
    assert program == "python"
    command = generate.main if words[0] == "generate.py" else style_mixing.main
    assert words[0] == "generate.py" or words[:2] == ["-m", "scripts.style_mixing"]
    call(command, *words[1 if words[0] == "generate.py" else 2 :])
    return (folder / "out" / made.picture).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_draws_the_same_bytes(networks, kind, here):
    @settings(max_examples=12, deadline=None)
    @given(LOOKS)
    def check(look):
        network = networks[kind]
        made = recipe(network, look)
        assert drawn_by_command(network, look, here) == markup.png(network.draw(look, made.noise_seed))

    check()


@pytest.mark.parametrize(
    "look, words",
    [
        (Look(3), "generate.py --network N --seeds 3 --outdir out"),
        (
            Look(3, seed_to=8, position=1, psi=0.7, cutoff=2),
            "generate.py --network N --seeds 8 --trunc 0.7 --trunc-cutoff 2 --outdir out",
        ),
        (Look(3, noise_mode="none"), "generate.py --network N --seeds 3 --noise-mode none --outdir out"),
        (
            Look(3, mix_seed=9, mix_layers=(0, 1, 4), psi=0.5),
            "-m scripts.style_mixing --network N --rows 3 --cols 9 --layers 0-1,4 --trunc 0.5 --outdir out",
        ),
        (
            Look(3, part_seeds={"bias": 4, "spatial": 4}, part_layers=(2,)),
            "-m scripts.style_mixing --network N --rows 3 --cols 4 --layers 2 --part spatial --part bias --outdir out",
        ),
        (
            Look(3, part_seeds={"bias": 4, "spatial": 5}, part_layers=(2,)),
            "generate.py --network N --projected-w styles.npz --outdir out",
        ),
        (Look(3, position=0.5), "generate.py --network N --projected-w styles.npz --outdir out"),
        (Look(3, part_seeds={"bias": 4}), "generate.py --network N --seeds 3 --outdir out"),
        (Look(3, mix_layers=(99,)), "generate.py --network N --seeds 3 --outdir out"),
    ],
)
def test_commands_by_seeds_where_there_are_such(networks, look, words):
    made = recipe(networks["plain"], look)
    assert made.words == [networks["plain"].name if word == "N" else word for word in words.split()]
    assert bool(made.styles) == ("styles.npz" in words)


def test_every_control_changes_the_picture(networks):
    network, start = networks["plain"], Look(1)
    before = network.draw(start)
    assert torch.equal(before, draw_seed(network.G, 1))
    for changed in (
        Look(2),
        Look(1, seed_to=2, position=0.5),
        Look(1, psi=0.5),
        Look(1, noise_mode="none"),
        Look(1, noise_mode="random"),
        Look(1, mix_seed=2, mix_layers=(1,)),
        *(Look(1, part_seeds={part: 2}, part_layers=(0, 3)) for part in PARTS),
        Look(1, amounts=(0, 2.0)),
    ):
        assert not torch.equal(network.draw(changed), before), changed
    assert torch.equal(network.draw(Look(1, seed_to=7, position=1)), draw_seed(network.G, 7))
    everything = Look(1, part_seeds=dict.fromkeys(PARTS, 4), part_layers=tuple(range(network.G.num_ws)))
    assert (network.draw(everything).int() - draw_seed(network.G, 4).int()).abs().max() <= 1


def test_kernels_are_those_of_the_picture(networks):
    network = networks["plain"]
    of = lambda look: network.kernels(look, 2)
    assert not torch.equal(of(Look(1)), of(Look(2)))
    assert torch.equal(of(Look(1)), of(Look(1, part_seeds={"bias": 2}, part_layers=(2,))))  # a bias is no kernel
    assert not torch.equal(of(Look(1)), of(Look(1, part_seeds={"spatial": 2}, part_layers=(2,))))
    with pytest.raises(InputError, match="predicts no kernels: its modulation is demod"):
        networks["demod"].kernels(Look(1), 2)
    with pytest.raises(InputError, match="found layer 9"):
        network.kernels(Look(1), 9)


def test_directions_of_a_file(networks, tmp_path, monkeypatch):
    path = tmp_path / "directions.npz"
    G = networks["plain"].G
    found = find_directions(G, "sefa", 3, [0, 1], ["spatial"], samples=200)
    save_directions(path, found.renamed({"0": "smile"}))
    network = OpenNetwork(networks["plain"].name, directions=path)
    assert network.directions.names[0] == "smile" and len(networks["plain"].directions.names) == 6
    ws, parts = network.styles(Look(1, amounts=(2.0,)))
    step = 2 * found.scale[0] * found.directions[0]
    assert list(parts) == ["spatial"] and torch.equal(ws, network.styles(Look(1))[0])
    assert torch.allclose(parts["spatial"][0] - ws[0], torch.stack([step, step, *[0 * step] * (G.num_ws - 2)]), atol=1e-5)
    look = Look(1, amounts=(2.0, 0, -0.35), psi=0.7)
    line = recipe(network, look).words
    assert [word for word in line if ":" in word] == [f"{path}:smile=2.0", f"{path}:sefa-2=-0.35"]
    monkeypatch.chdir(tmp_path)
    assert drawn_by_command(network, look, tmp_path) == markup.png(network.draw(look, 1))
    assert recipe(network, Look(1, amounts=(2.0,), mix_layers=(1,))).styles
    with pytest.raises(InputError, match="no such file with directions"):
        OpenNetwork(networks["plain"].name, directions=tmp_path / "none.npz")


def test_a_file_of_parts_for_a_network_without(networks, here):
    made = recipe(networks["plain"], Look(1, part_seeds={"spatial": 3, "bias": 2}, part_layers=(1,)))
    (here / STYLES).write_bytes(made.styles)
    words = ["--projected-w", STYLES, "--outdir", "out", "--device", "cpu"]
    with pytest.raises(InputError, match="styles.npz: has styles for parts of kernels, and this network predicts none"):
        call(generate.main, "--network", networks["demod"].name, *words)
    network = ["--network", networks["plain"].name]
    call(generate.main, *network, *words, "--save-ws", "again.npz", "--show-kernels", "kernels.png")
    assert (here / "again.npz").read_bytes() == made.styles
    save_directions(here / "d.npz", networks["plain"].directions)
    with pytest.raises(InputError, match="--direction: parts of the kernels have styles of their own"):
        call(generate.main, *network, *words, "--direction", "d.npz:0=1")


def test_another_network_draws_what_it_can(networks):
    look = Look(1, label="-dog", mix_seed=2, mix_layers=(1, 77), cutoff=9, psi=0.5)
    assert networks["classes"].label(look) == "-dog" and networks["numbers"].label(look) == "0"
    assert networks["plain"].label(look) is None and networks["plain"].truncation(look) == (0.5, None)
    assert "--class=-dog" in recipe(networks["classes"], look).words
    assert networks["demod"].draw(Look(1, part_seeds={"bias": 2}, part_layers=(1,))).equal(networks["demod"].draw(Look(1)))


def test_a_network_without_modulation_has_one_style(networks):
    network = networks["none"]
    assert len(network.layers) == 1
    with torch.inference_mode():
        mixed = network.draw(Look(1, mix_seed=2, mix_layers=(0,)))
    assert mixed.equal(network.draw(Look(2, noise_mode="const"))) and not mixed.equal(network.draw(Look(1)))


def test_parts_that_are_the_same_for_all_styles(networks, here):
    network, look = networks["bias"], Look(1, part_seeds={"spatial": 2, "bias": 2}, part_layers=(0, 1))
    assert list(network.styles(look)[1]) == ["bias"]
    words = recipe(network, look).words
    assert "bias" in words and "spatial" not in words
    assert network.draw(Look(1, part_seeds={"spatial": 2}, part_layers=(0,))).equal(network.draw(Look(1)))
    assert recipe(network, Look(1, part_seeds={"spatial": 2}, part_layers=(0,))) == recipe(network, Look(1))
    fixed = ["--network", network.name, "--rows", 0, "--cols", 1, "--outdir", "out", "--device", "cpu"]
    with pytest.raises(InputError, match="--part: .* has one spatial for all styles: it predicts bias alone"):
        call(style_mixing.main, *fixed, "--part", "spatial")


PAGE = dict(
    seed=1, seed_to=2, position=0.3000001, psi=1, cutoff=4, label=None, noise_mode="const", mix_seed=3, mix_layers=[2, 0]
)
PAGE |= {part: part == "bias" for part in PARTS} | {f"{part}_seed": 5 for part in PARTS}
PAGE |= dict(part_layers=[], direction0=0.1, direction1=0)


def test_values_of_the_page():
    look = look_of(PAGE)
    assert (look.position, look.mix_layers, look.part_seeds, look.amounts) == (0.3, (0, 2), {"bias": 5}, (0.1, 0))


@pytest.mark.parametrize(
    "changed",
    [
        dict(seed=-1),
        dict(seed=2**32),
        dict(seed=None),
        dict(seed=1.5),
        dict(psi=float("nan")),
        dict(psi="1"),
        dict(direction0=[2]),
        dict(mix_layers=None),
        dict(mix_layers=["x", 1]),
        dict(noise_mode="loud"),
        dict(mix_layers=[-1]),
        dict(bias_seed="5"),
    ],
)
def test_values_that_the_page_does_not_offer(changed):
    with pytest.raises(InputError, match="found .*, wanted"):
        look_of(PAGE | changed)


def test_a_number_beyond_a_slider_is_the_nearest_on_it():
    look = look_of(PAGE | dict(position=7, psi=-3, cutoff=-1, direction0=1e9, direction1=None))
    assert (look.position, look.psi, look.cutoff, look.amounts) == (1, 0, 0, (4, 0))
    assert look_of(PAGE | dict(psi=None, cutoff=None)) == look_of(PAGE | dict(psi=1, cutoff=None))


def test_what_a_browser_sends_while_networks_change(networks):
    """A class, layers and kernels that the network of this moment does not have, and a network that there is not."""
    gradio = pytest.importorskip("gradio")
    from scripts.viewer.generator_tab import GeneratorTab

    tab = GeneratorTab([networks["plain"], networks["demod"]], "cpu")
    with gradio.Blocks() as page:
        tab.build(page)
    drawing = next(block_fn for block_fn in page.fns.values() if block_fn.name == "draw")

    def drawn(**changes):
        values = [changes.get(name, control.value) for name, control in tab.controls.items()]
        return asyncio.run(page.process_api(drawing, values))["data"]

    usual = drawn()
    assert usual[0].count("<img") == 1
    assert drawn(label="cat", label_beside="dog", mix_layers=[99], cutoff=99, kernels=99, psi=1) == usual
    assert "<img" in drawn(kernels=2)[-1] and drawn(kernels="layer")[-1] == ""
    for name in ("elsewhere", None, ["plain"]):
        assert "there is no network" in drawn(network=name)[0]


@given(st.sets(st.integers(0, 20), min_size=1))
def test_layers_as_ranges(layers):
    assert style_mixing.layers_of(as_ranges(list(layers)), 21) == sorted(layers)


def test_what_is_shown_is_escaped():
    name = '"><script>alert(1)</script>'
    for made in (markup.problem(name), markup.download(b"", name), markup.picture(b"", (1, 1), name, name)):
        assert "<script" not in made and made.count('"') % 2 == 0
    assert np.array_equal(np.frombuffer(markup.png(torch.zeros(1, 2, 2, dtype=torch.uint8)), np.uint8)[1:4], list(b"PNG"))
