"""Moving pictures as files: .webp and .gif by Pillow, .mp4 by ffmpeg, and what each of them cannot have."""

import itertools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from torch_utils.files import InputError, atomic_write, check_target
from torch_utils.images import from_pil, to_rgb

ANIMATIONS: dict[str, dict] = {".webp": dict(format="WEBP", quality=90, method=3), ".gif": dict(format="GIF")}
UNITS = {".webp": 1, ".gif": 10}  # milliseconds, of which the time of a frame is a multiple
MAX_SIDES = {".webp": 2**14 - 1, ".gif": 2**16 - 1, ".mp4": 2**14}  # pixels: of the formats, and of H.264 as x264 writes it
MAX_FRAMES = 20_000
MAX_PIXELS = 2**24  # of a frame
MAX_KEPT = 2**30  # pixels of all frames of an animation, which Pillow keeps until the end
GIF_FPS = 50  # browsers slow down frames that last less than 20 ms


def writer_of(output: Path, fps: float) -> Callable[[Path, Iterator[Image.Image], float], None]:
    """The function that writes such a file; `InputError` where there is none, or none with so many frames a second."""
    suffix = output.suffix.lower()
    check_target(output)
    if suffix == ".gif" and fps > GIF_FPS:
        raise InputError(f"--fps {fps:g}: wanted {GIF_FPS} at most for .gif, as browsers slow down what is faster")
    if suffix in ANIMATIONS:
        return write_animation
    if suffix != ".mp4":
        raise InputError(f"--output {output}: wanted .mp4, {' or '.join(ANIMATIONS)}")
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise InputError(f"--output {output}: needs `pip install -e .[video]`; .webp and .gif do not") from None
    return write_video


def check_frames(output: Path, width: int, height: int, total: int) -> None:
    """`InputError` where such a file cannot have frames of this size, or not as many."""
    suffix = output.suffix.lower()
    if max(width, height) > MAX_SIDES[suffix]:
        found = f"found frames of {width}×{height} pixels"
        raise InputError(f"--output {output}: {found}, wanted {MAX_SIDES[suffix]:,} at most on a side, as {suffix} has them")
    if width * height > MAX_PIXELS:
        raise InputError(f"--output {output}: frames would have {width * height:,} pixels, wanted {MAX_PIXELS:,} at most")
    if suffix in ANIMATIONS and (kept := total * width * height) > MAX_KEPT:
        found = f"found {kept:,} pixels in all frames, wanted {MAX_KEPT:,} at most, as they are all kept in memory"
        raise InputError(f"--output {output}: {found}; .mp4 can have more")


def write_animation(path: Path, frames: Iterator[Image.Image], fps: float) -> None:
    """WebP or GIF, repeated for ever, of MAX_FRAMES frames at most. `InputError` for a picture that GIF cannot show so long."""
    suffix = path.suffix.lower()
    if suffix == ".gif":
        frames = (cut_out(frame) for frame in frames)
    first = next(frames)
    settings = ANIMATIONS[suffix] | {"duration": durations(fps, UNITS[suffix])}
    if first.mode == "RGBA":
        settings["disposal"] = 2  # of GIF: a frame is taken away before the next, and does not shine through it
    try:
        with atomic_write(path) as file:
            first.save(file, save_all=True, append_images=frames, loop=0, **settings)
    except struct.error:  # Pillow makes one frame of equal ones
        raise InputError(f"{path}: found a picture that stays for longer than 655 s, which GIF cannot have") from None


def durations(fps: float, unit: int) -> list[int]:
    """Of MAX_FRAMES frames, in milliseconds and multiples of `unit`: each frame ends as near as that to where it should."""
    ends = [unit * round(i * 1000 / fps / unit) for i in range(MAX_FRAMES + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def cut_out(frame: Image.Image) -> Image.Image:
    """A frame with alpha as GIF can have it, RGBA: what is half transparent or more is not there, and all else covers."""
    if "A" not in frame.mode:
        return frame
    array = np.array(frame.convert("RGBA"))
    there = array[..., 3:] > 127
    array[..., 3] = 255
    return Image.fromarray(array * there)  # one colour where nothing is, as only one colour can be transparent


def write_video(path: Path, frames: Iterator[Image.Image], fps: float) -> None:
    """MP4, H.264, by ffmpeg, of frames made `even`. `InputError` where it fails; then what was at `path` is as it was."""
    import imageio_ffmpeg

    check_target(path)
    frames = (even(frame) for frame in frames)
    first = next(frames)
    unfinished = path.absolute().with_name(f".{path.stem}.unfinished{path.suffix}")
    writer = imageio_ffmpeg.write_frames(str(unfinished), first.size, fps=fps, quality=8, macro_block_size=1)
    try:
        writer.send(None)
        sent = 0
        for frame in itertools.chain([first], frames):
            sent += 1
            try:
                writer.send(np.ascontiguousarray(np.asarray(frame)))
            except OSError:  # ffmpeg has ended
                break
        writer.close()
        if frames_in(unfinished) != sent:
            raise InputError(f"{path}: ffmpeg could not write it, or not all of it")
        check_target(path)  # it may have changed meanwhile
        unfinished.replace(path)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)


def frames_in(video: Path) -> int:
    """How many there are; 0 in what ffmpeg cannot read. That it has failed to write a file it does not say otherwise."""
    import imageio_ffmpeg

    if not video.exists() or not video.stat().st_size:
        return 0
    try:
        return imageio_ffmpeg.count_frames_and_secs(str(video))[0]
    except RuntimeError:
        return 0


def even(frame: Image.Image) -> Image.Image:
    """RGB, with alpha laid over white, and with even sides, as H.264 has them: the last row or column is repeated."""
    array = to_rgb(from_pil(frame)[None])[0].permute(1, 2, 0).numpy()
    return Image.fromarray(np.pad(array, [(0, array.shape[0] % 2), (0, array.shape[1] % 2), (0, 0)], mode="edge"))
