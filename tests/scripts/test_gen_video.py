"""Walks between seeds that end where they began."""

import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import generate
from networks.generator import Generator
from networks.sampling import draw_seed, seed_styles
from scripts import gen_video, video_files
from scripts.gen_video import loop, walk
from scripts.video_files import even
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
        (["--seeds", "0", "--fps", 50.5], "--fps 50.5: wanted 50 at most for .gif"),
        (["--seeds", "0-2", "--frames", 400, "--scale", 64], "found 1,258,291,200 pixels in all frames, wanted 1,073,741,824"),
        (["--seeds", "0-98", "--grid", "99x1", "--scale", 64], "walk.gif: found frames of 101376×1024 pixels, wanted 65,535"),
        (
            ["--seeds", "0-63", "--grid", "8x8", "--scale", 64],
            "walk.gif: frames would have 67,108,864 pixels, wanted",
        ),
    ],
)
def test_bad_input(network, tmp_path, words, message):
    with pytest.raises(Exception, match=message):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.gif", *words)
    assert not (tmp_path / "walk.gif").exists()


@pytest.mark.parametrize(
    "words, suffix, message",
    [
        (["--grid", "17x1", "--scale", 64], ".webp", "found frames of 17408×1024 pixels, wanted 16,383 at most on a side"),
        (["--grid", "1x17", "--scale", 64], ".webp", "found frames of 1024×17408 pixels, wanted 16,383 at most on a side"),
        (["--grid", "17x1", "--scale", 64], ".mp4", "found frames of 17408×1024 pixels, wanted 16,384 at most on a side"),
        (
            ["--frames", 200, "--scale", 64],
            ".webp",
            "found 3,565,158,400 pixels in all frames, wanted .*; .mp4 can have more",
        ),
    ],
)
def test_frames_that_a_format_cannot_have(network, tmp_path, monkeypatch, words, suffix, message):
    monkeypatch.setattr(gen_video, "walk", lambda *arguments: pytest.fail("was drawn"))
    if suffix == ".mp4":
        monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", types.ModuleType("imageio_ffmpeg"))
    with pytest.raises(InputError, match=f"--output .*walk{suffix}: {message}"):
        call(gen_video.main, "--network", network, "--output", tmp_path / f"walk{suffix}", "--seeds", "0-16", *words)
    assert not (tmp_path / f"walk{suffix}").exists()


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
@pytest.mark.parametrize("fps, count", [(30, 61), (7, 20), (40, 13), (50, 9), (1, 2), (30, 1)])
def test_a_walk_lasts_as_long_as_it_should(tmp_path, fps, count, suffix):
    """GIF has hundredths of a second, and browsers slow down frames of less than two."""
    path, rng = tmp_path / f"walk{suffix}", np.random.RandomState(0)
    noise = (Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)) for _ in range(count))
    video_files.write_animation(path, noise, fps)
    if count == 1 and suffix == ".webp":
        return  # a picture, without time
    times = [frame.info["duration"] for frame in decoded(path)]
    assert len(times) == count and min(times) >= 20 and abs(sum(times) - 1000 * count / fps) <= 10


def test_a_picture_that_stays_too_long_for_gif(tmp_path):
    with pytest.raises(InputError, match="found a picture that stays for longer than 655 s"):
        video_files.write_animation(tmp_path / "walk.gif", (Image.new("L", (8, 8)) for _ in range(700)), 1)
    assert not list(tmp_path.iterdir())


def bars(mode: str = "RGBA") -> list[Image.Image]:
    """A red bar moves to the right, over what is transparent and has random colours beneath."""
    frames = []
    for i in range(3):
        array = np.random.RandomState(i).randint(0, 256, (16, 16, 4)).astype(np.uint8)
        array[..., 3] = 0
        array[:, 5 * i : 5 * i + 4] = (255, 0, 0, 255)
        frames.append(Image.fromarray(array).convert(mode))
    return frames


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_transparent_frames_do_not_pile_up(tmp_path, suffix, mode):
    video_files.write_animation(tmp_path / f"walk{suffix}", iter(bars(mode)), 10)
    for i, frame in enumerate(decoded(tmp_path / f"walk{suffix}")):
        assert np.flatnonzero(np.asarray(frame.convert("RGBA"))[8, :, 3] > 127).tolist() == list(range(5 * i, 5 * i + 4))


def test_a_video_is_white_where_frames_are_transparent():
    for frame in bars():
        there = np.asarray(frame)[..., 3:] > 0
        assert np.array_equal(np.asarray(even(frame)), np.where(there, np.asarray(frame.convert("RGB")), 255))
    assert even(Image.new("LA", (3, 2), (7, 0))).getcolors() == [(8, (255, 255, 255))]


def decoded(path):
    movie = Image.open(path)
    for i in range(movie.n_frames):
        movie.seek(i)
        movie.load()  # WebP says the duration of a frame that is decoded
        yield movie


@pytest.mark.parametrize("count", [1, 3, 40])
def test_a_video_that_ffmpeg_cannot_write(tmp_path, count):
    """It says so on its own, and by nothing else: there is no error to be caught."""
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"of yesterday")
    with pytest.raises(InputError, match="walk.mp4: ffmpeg could not write it"):
        video_files.write_video(path, (Image.new("RGB", (19008, 32)) for _ in range(count)), 30)
    assert path.read_bytes() == b"of yesterday" and list(tmp_path.iterdir()) == [path]


def test_an_ffmpeg_that_ends_at_once(tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")

    def write_frames(*arguments, **named):
        yield
        raise OSError("Broken pipe\n\nFFMPEG COMMAND:\n…")

    monkeypatch.setattr(ffmpeg, "write_frames", write_frames)
    with pytest.raises(InputError, match="walk.mp4: ffmpeg could not write it"):
        video_files.write_video(tmp_path / "walk.mp4", iter(bars()), 30)
    assert not list(tmp_path.iterdir())


def test_half_a_video_is_none(tmp_path):
    pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    path, rng = tmp_path / "walk.mp4", np.random.RandomState(0)
    video_files.write_video(path, (Image.fromarray(rng.randint(0, 256, (33, 32, 3)).astype(np.uint8)) for _ in range(7)), 30)
    assert video_files.frames_in(path) == 7
    path.write_bytes(path.read_bytes()[:-100])  # of a disk that is full, say
    assert video_files.frames_in(path) == video_files.frames_in(tmp_path / "none.mp4") == 0


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_links_and_folders_are_not_replaced(network, tmp_path, suffix):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="needs the extra `video`")
    (tmp_path / "file").write_bytes(b"mine")
    link = tmp_path / f"walk{suffix}"
    link.symlink_to(tmp_path / "file")
    with pytest.raises(InputError, match=f"walk{suffix}: is a link, wanted a file or nothing"):
        call(gen_video.main, "--network", network, "--output", link, "--seeds", 0, "--frames", 2)
    assert link.is_symlink() and (tmp_path / "file").read_bytes() == b"mine"


def test_files_that_cannot_be_written(network, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="walk.avi: wanted .mp4, .webp or .gif"):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.avi", "--seeds", 0)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match="walk.mp4: needs `pip install"):
        call(gen_video.main, "--network", network, "--output", tmp_path / "walk.mp4", "--seeds", 0)
