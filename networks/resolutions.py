"""The levels that both networks consist of: the size of the feature maps at each, and their number of channels."""

MIN_SIDE = 4  # sizes are halved while their sides stay whole and at least this
MAX_PIXELS = 256  # of the smallest level: the generator's constant and the discriminator's last layer grow with it


def resolutions(img_resolution: int | tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of every level, from the smallest to the image's: 64 -> 4×4, 8×8, … 64×64; (384, 512) -> 6×8 … 384×512.

    `ValueError` where the sides cannot be halved often enough.
    """
    sides = tuple(img_resolution) if isinstance(img_resolution, (tuple, list)) else (img_resolution, img_resolution)
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= 2**16 for side in sides):
        raise ValueError(f"img_resolution {img_resolution!r} must be a side, or (height, width)")
    levels = [sides]
    while all(side % 2 == 0 and side >= 2 * MIN_SIDE for side in levels[0]):
        levels.insert(0, (levels[0][0] // 2, levels[0][1] // 2))
    height, width = levels[0]
    if len(levels) < 2 or height * width > MAX_PIXELS:
        raise ValueError(
            f"images of {sides[1]}×{sides[0]} cannot be made: halving leads to {width}×{height}; wanted sides that halve "
            f"to {MIN_SIDE} or little more, such as 64, 96 or 384"
        )
    return levels


def channels_at(resolution: tuple[int, int], channel_base: int, channel_max: int) -> int:
    """The number of channels of maps of this size; `ValueError` where none is left."""
    width = min(channel_base // max(resolution), channel_max)
    if width < 1:
        side = max(resolution)
        raise ValueError(f"channel_base {channel_base}, channel_max {channel_max}: no channels are left at {side} pixels")
    return width
