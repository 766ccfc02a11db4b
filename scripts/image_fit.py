"""Ways to bring an image to a size, and to lay a transparent one over a colour."""

from dataclasses import dataclass

from PIL import Image

FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}


def stretch(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    return image.resize(size, resample)


def center_crop(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """The largest middle part that has the proportions of `size`, scaled to it."""
    scale = min(image.width / size[0], image.height / size[1])
    width, height = min(size[0] * scale, image.width), min(size[1] * scale, image.height)  # rounding may lead past the edge
    x, y = (image.width - width) / 2, (image.height - height) / 2
    return image.resize(size, resample, box=(x, y, x + width, y + height))


def center_crop_wide(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Centre crop to `size`, then black bars above and below that make it a square."""
    return pad(center_crop(image, size, resample), (size[0], size[0]), resample)


def pad(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
    """Unscaled in the middle of a black (or transparent) image; one that is too large is made smaller first."""
    scale = max(image.width / size[0], image.height / size[1], 1)
    if scale > 1:
        image = image.resize([max(1, round(side / scale)) for side in image.size], resample)
    canvas = Image.new(image.mode, size)
    canvas.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return canvas


TRANSFORMS = {"stretch": stretch, "center-crop": center_crop, "center-crop-wide": center_crop_wide, "pad": pad}


def lay_over(image: Image.Image, colour: tuple[int, int, int], mode: str) -> Image.Image:
    """An image with transparency over this colour, in mode L or RGB."""
    ground = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert(mode)


@dataclass
class ImageFit:
    """fit(image) -> the image in `mode` and `size`, over `background` where one is given."""

    mode: str  # L, LA, RGB or RGBA: all images fit in without loss
    size: tuple[int, int] | None  # None: as it is
    transform: str  # one of TRANSFORMS
    resample: int
    background: tuple[int, int, int] | None
    stretched: int = 0  # images that were brought to other proportions
    written_size: tuple[int, int] | None = None  # of the last result

    @property
    def result_mode(self) -> str:
        if not self.mode.endswith("A") or self.background is None:
            return self.mode
        return "L" if self.mode == "LA" and len(set(self.background)) == 1 else "RGB"

    def __call__(self, image: Image.Image) -> Image.Image:
        image = image.convert(self.mode)
        if self.size:
            proportions = image.width * self.size[1] / (image.height * self.size[0])
            self.stretched += self.transform == "stretch" and abs(proportions - 1) > 0.02
            image = TRANSFORMS[self.transform](image, self.size, self.resample)
        self.written_size = image.size
        return image if self.result_mode == self.mode else lay_over(image, self.background, self.result_mode)
