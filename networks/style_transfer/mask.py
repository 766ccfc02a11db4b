"""A picture of few colours as regions: each colour is one, from dark to light."""

import torch
import torch.nn.functional as F

from torch_utils.files import InputError

LUMA = (299, 587, 114)  # thousandths of R, G and B in a colour's brightness (ITU-R BT.601)
BLUR = 16  # pixels; two cells of relu4_1
SHOWN = 6  # colours that an error names


class Mask:
    """The regions of a picture. `InputError` where it does not have exactly `count` colours.

    Region 0 is the darkest colour, the last one the lightest; of colours equally bright, the one with less red comes first,
    then less green, then less blue. `blur` is the width, in pixels of the content, of the soft border between two regions.
    """

    def __init__(self, picture: torch.Tensor, count: int, blur: float = BLUR):  # uint8 RGB [3, H, W]
        red, green, blue = picture.long()
        packed = (red << 16 | green << 8 | blue) + ((LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) << 24)
        colours, labels, counts = packed.unique(return_inverse=True, return_counts=True)
        if len(colours) != count:
            raise InputError(problem(colours, counts, count))
        self.labels, self.count, self.blur = labels.to(torch.uint8 if count < 256 else torch.int32), count, blur  # [H, W]
        self.colours = [f"#{colour & 0xFFFFFF:06x}" for colour in colours.tolist()]

    def at(self, height: int, width: int) -> torch.Tensor:
        """How much each place belongs to each region: float32 [R, 1, height, width], at every place with a sum of 1.

        The picture is resized to the nearest pixel. `InputError` where its sides are not in that ratio, to rounding, or where
        a region has no pixel left.
        """
        own_height, own_width = self.labels.shape
        factor = min(height / own_height, width / own_width, 1)  # errors are counted in pixels of the smaller of the two
        small = min(own_height / height, own_width / width, 1)
        if max(abs(own_height * factor - height * small), abs(own_width * factor - width * small)) >= 1:
            raise InputError(f"found {own_width}×{own_height} pixels, wanted the ratio of the content's {width}×{height}")
        labels = self.labels
        if (own_height, own_width) != (height, width):
            rows, columns = (
                ((torch.arange(new) + 0.5) * (old / new)).long().clamp(max=old - 1)
                for new, old in ((height, own_height), (width, own_width))
            )
            labels = labels[rows][:, columns]
        masks = torch.stack([labels == region for region in range(self.count)]).float()[:, None]
        for colour, mask in zip(self.colours, masks):
            if not mask.any():
                raise InputError(f"found no pixel of {colour} in it at {width}×{height}, wanted one at least in every region")
        return soft(masks, self.blur)


def problem(colours: torch.Tensor, counts: torch.Tensor, wanted: int) -> str:
    """The line for a picture with other than the `wanted` number of colours."""
    most = counts.argsort(descending=True, stable=True)[:SHOWN].tolist()
    shares = [f"#{int(colours[i]) & 0xFFFFFF:06x} {100 * int(counts[i]) / int(counts.sum()):.3g} %" for i in most]
    shares += ["…"] * (len(colours) > SHOWN)
    found = f"found {len(colours)} colours ({', '.join(shares)}), wanted {wanted}, one for each style"
    return found + ("; JPEG and soft brushes blur colours, a PNG with hard edges keeps them" if len(colours) > wanted else "")


def soft(masks: torch.Tensor, width: float) -> torch.Tensor:
    """Masks [R, 1, H, W] blurred by a Gaussian with a deviation of a quarter of `width`, which then holds 95 % of a border."""
    if not width:
        return masks
    radius = max(round(0.75 * width), 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / (width / 4)).square())
    taps = (taps / taps.sum())[None, None]
    masks = F.conv2d(F.pad(masks, (radius, radius, 0, 0), mode="replicate"), taps[:, :, None])
    masks = F.conv2d(F.pad(masks, (0, 0, radius, radius), mode="replicate"), taps[..., None])
    return masks / masks.sum(dim=0)
