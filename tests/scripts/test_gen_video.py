"""Walks between seeds that end where they began."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import generate
from networks.generator import Generator
from networks.sampling import draw_seed, seed_styles
from scripts import gen_video
from scripts.gen_video import even, loop, walk
from tests.training.run.test_start import call
from torch_utils.checkpoint import load_generator, save_snapshot
from torch_utils.files import InputError

SIZES = dict(channel_base=256, channel_max=16, z_dim=8, style_depth=2)


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    save_snapshot(tmp_path / "network.safetensors", "generator", Generator(16, **SIZES))
    return tmp_path / "network.safetensors"


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_loop_goes_through_its_keys_and_closes(count, frames, seed):
    keys = np.random.RandomState(seed).randn(count, 2, 3)
    path = loop(keys, frames)
    assert path.shape == (count * frames, 2, 3) and np.allclose(path[::frames], keys)
    again = loop(np.roll(keys, -1, axis=0), frames)  # wherever it begins, it is the same curve: no key is an end
    assert np.allclose(np.roll(path, -frames, axis=0), again)


def test_a_loop_is_smooth():
    """Second differences of many frames are of the order of the step squared, across the end as well."""
    path = loop(np.random.RandomState(0).randn(5, 4), 100)
    wrapped = np.concatenate([path, path[:2]])
    assert np.abs(np.diff(wrapped, 2, axis=0)).max() < 20 / 100**2


@pytest.mark.parametrize("space", ["w", "z"])
def test_keys_are_the_seeds_pictures(space):
    torch.manual_seed(0)
    G = Generator(16, **SIZES).eval()
    frames = list(walk(G, [3, 4, 1, 7, 9, 2], 5, cells=2, space=space))
    assert len(frames) == 15 and frames[0].shape == (2, 3, 16, 16) and frames[0].dtype == torch.uint8
    for at, cell, seed in ((0, 0, 3), (5, 0, 4), (0, 1, 7), (5, 1, 9)):
        assert (frames[at][cell].int() - draw_seed(G, seed).int()).abs().max() <= 1
    assert len({frame.numpy().tobytes() for frame in frames}) == 15
    half = list(walk(G, [3], 1, psi=0.5))[0][0]
    assert (half.int() - draw_seed(G, 3, psi=0.5).int()).abs().max() <= 1


def test_labels_are_those_asked_for():
    torch.manual_seed(0)
    G = Generator(16, c_dim=3, **SIZES).eval()
    c = torch.eye(3)[1:2]
    (frame,) = walk(G, [2, 5], 1, cells=2, c=c)
    assert (frame[1].int() - draw_seed(G, 5, c).int()).abs().max() <= 1
    assert not torch.equal(seed_styles(G, 5, c, 1, None), seed_styles(G, 5, torch.eye(3)[:1], 1, None))


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_command(network, tmp_path, suffix):
    output = tmp_path / "deep" / f"walk{suffix}"
    words = ["--network", network, "--seeds", "0-3", "--grid", "2x1", "--frames", 3, "--scale", 2, "--fps", 10]
    said = call(gen_video.main, *words, "--output", output)
    assert f"{output}: 6 frames, 0.6 s" in said
    movie = Image.open(output)
    assert movie.n_frames == 6 and movie.size == (64, 32) and movie.info["loop"] == 0
    movie.seek(3)
    movie.load()  # WebP says the duration of a frame that is decoded
    assert movie.info["duration"] == 100
    call(generate.main, "--network", network, "--seeds", "3", "--outdir", tmp_path / "alone", "--device", "cpu")
    wanted = np.asarray(Image.open(tmp_path / "alone" / "seed0003.png").resize((32, 32), Image.Resampling.NEAREST)).astype(int)
    assert np.abs(np.asarray(movie.convert("RGB"))[:, 32:] - wanted).mean() < 12  # compressed


def test_a_grid_is_enlarged_as_a_video_is(network, tmp_path):
    words = ["--network", network, "--seeds", "0-2", "--outdir", tmp_path / "o", "--device", "cpu"]
    for name, more in (("plain.png", []), ("large.png", ["--scale", 3])):
        call(generate.main, *words, "--grid", tmp_path / name, *more)
    plain, large = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "large.png"))
    assert plain.shape == (32, 32, 3) and np.array_equal(large, plain.repeat(3, axis=0).repeat(3, axis=1))
    assert Image.open(tmp_path / "o" / "seed0000.png").size == (16, 16)
    with pytest.raises(InputError, match="--scale 3: has no say without --grid"):
        call(generate.main, *words, "--scale", 3)
    with pytest.raises(InputError, match="--scale 64: the grid would have more than 67,108,864 pixels"):
        call(generate.main, *words, "--seeds", "0-99", "--grid", tmp_path / "vast.png", "--scale", 64)


def test_mp4(network, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    output = tmp_path / "walk.mp4"
    words = ["--network", network, "--seeds", "0-2", "--frames", 4, "--scale", 4, "--device", "cpu"]
    call(gen_video.main, *words, "--output", output)
    frames = ffmpeg.read_frames(str(output))
    header = next(frames)
    pictures = [np.frombuffer(frame, np.uint8).reshape(64, 64, 3) for frame in frames]
    assert header["size"] == (64, 64) and header["codec"] == "h264" and len(pictures) == 12
    G = load_generator(network)
    wanted = draw_seed(G, 1).repeat_interleave(4, 1).repeat_interleave(4, 2).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(pictures[4] - wanted).mean() < 12 and [path.name for path in tmp_path.glob("*walk*")] == ["walk.mp4"]


def test_odd_sides_become_even():
    odd = Image.fromarray(np.arange(15 * 7 * 3, dtype=np.uint8).reshape(15, 7, 3))
    array = np.asarray(even(odd))
    assert (
        array.shape == (16, 8, 3) and np.array_equal(array[:15, :7], np.asarray(odd)) and np.array_equal(array[15], array[14])
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["--seeds", "0-4", "--grid", "2x1"], "--grid 2x1: found 5 seeds, wanted a multiple of 2"),
        (["--seeds", "0-3", "--grid", "2by1"], "does not read as a grid"),
        (["--seeds", "0-999", "--frames", 21], "--frames 21: found 21000 frames in all, wanted 20000 at most"),
        (["--seeds", "0-63", "--grid", "8x8", "--scale", 64], "--scale 64: frames would have more than 16,777,216 pixels"),
    ],
)
def test_bad_input(network, tmp_path, words, message):
    with pytest.raises(Exception, match=message):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.gif", *words)
    assert not (tmp_path / "walk.gif").exists()


def test_files_that_cannot_be_written(network, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="walk.avi: wanted .mp4, .webp or .gif"):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.avi", "--seeds", 0)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match="walk.mp4: needs `pip install"):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.mp4", "--seeds", 0)
