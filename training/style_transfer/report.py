"""What the training of a style transfer writes down: held-out contents in held-out styles, and their losses."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F

from networks.style_transfer.feature_losses import STYLE_LOSSES, content_loss
from networks.style_transfer.vgg import VGG, style_features
from torch_utils import distributed
from torch_utils.checkpoint import save_snapshot
from torch_utils.images import from_uint8, save_grid, to_uint8
from torch_utils.interrupt import StopRequest
from torch_utils.run_dir import FAKES_INIT, REALS, STYLES
from training.dataset import batches
from training.run.report import Reporter
from training.style_transfer.config import StyleConfig
from training.style_transfer.crops import Crops
from training.style_transfer.sources import spread
from training.style_transfer.state import StyleState

COLUMNS, ROWS = 6, 4  # of pictures, at most: contents, and styles
STYLE_COLUMNS, STYLE_ROWS = 8, 4  # of the picture of training styles
MAX_PAIRS = 64  # that are scored


class StyleReporter(Reporter):
    config: StyleConfig
    state: StyleState
    LOGGED = ("content", "style", "identity")

    def __init__(
        self,
        config: StyleConfig,
        contents: Crops,
        styles: Crops,
        state: StyleState,
        encoder: VGG,
        run_dir: Path,
        device: torch.device,
        stop: StopRequest,
    ):
        super().__init__(config, state, run_dir, device, stop)
        self.encoder = encoder
        self.dataset, self.training_styles = f"{contents.name} × {styles.name}", styles
        self.contents, self.styles = middles(contents, COLUMNS), middles(styles, ROWS)
        self.scored = middles(contents, MAX_PAIRS), middles(styles, MAX_PAIRS)
        shown = F.interpolate(from_uint8(self.styles), self.contents.shape[2:], mode="bilinear", antialias=True)
        self.shown_styles = to_uint8(shown)  # in the contents' size

    def first_pictures(self) -> None:
        rows = self.contents, self.shown_styles
        columns = max(map(len, rows))
        blank = torch.full_like(self.contents[:1], 255)
        padded = [torch.cat([row, blank.expand(columns - len(row), -1, -1, -1)]) for row in rows]
        save_grid(self.run_dir / REALS, torch.cat(padded), columns)
        first = batches(self.training_styles, STYLE_COLUMNS * STYLE_ROWS, self.config.order_seeds[1], positions=True)
        save_grid(self.run_dir / STYLES, next(first)[0], STYLE_COLUMNS)
        self.pictures(self.run_dir / FAKES_INIT)

    def pictures(self, path: Path) -> None:
        """Contents in the first row; below, each row in the style of its first cell."""
        rows = [torch.cat([torch.full_like(self.contents[:1], 255), self.contents])]
        for style, shown in zip(self.styles.split(1), self.shown_styles.split(1)):
            made = [to_uint8(self._stylize(content, style)).cpu() for content in self.contents.split(1)]
            rows.append(torch.cat([shown, *made]))
        save_grid(path, torch.cat(rows), len(self.contents) + 1)

    def write_network(self, path: Path) -> None:
        """In half precision: it is for use, and training goes on from the saved state."""
        info = dict(nimg=self.state.nimg, dataset=self.dataset, crop=self.config.crop, seed=self.config.seed)
        save_snapshot(path, "style_transfer", self.state.network, half=True, **info)

    def scores(self) -> list[dict] | None:
        """Of all held-out pairs, or of MAX_PAIRS of them, always the same."""
        style_loss = STYLE_LOSSES[self.config.style_loss]
        sums, (contents, styles) = dict(style_loss=0.0, content_loss=0.0), self.scored
        chosen = pairs(len(contents), len(styles), MAX_PAIRS)
        with distributed.all_threads(self.config.threads), torch.no_grad():
            for i, j in chosen:
                if self.stop_request.requested and self.state.nimg:
                    return None
                content, style = contents[i : i + 1], styles[j : j + 1]
                result = self.encoder(self._stylize(content, style))
                sums["style_loss"] += style_loss(result, self._features(style)).item()
                sums["content_loss"] += content_loss(result, self._features(content)).item()
        common = dict(floor=None, pairs=len(chosen), compared=self.config.style_loss)
        return [dict(metric=name, value=total / len(chosen)) | common for name, total in sums.items()]

    @torch.no_grad()
    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Features of uint8 images."""
        return self.encoder(from_uint8(images.to(self.device)).contiguous(memory_format=torch.channels_last))

    @torch.no_grad()
    def _stylize(self, content: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        network = self.state.network.eval()  # as it is used: with noise that is always the same
        result = network(self._features(content)[-1], network.encode_style(style_features(self._features(style))))
        network.train()
        return result


def middles(crops: Crops, count: int) -> torch.Tensor:
    """uint8 [N, 3, side, side]: at most `count` held-out images, spread over their sources."""
    return torch.stack([crops.middle(name) for name in spread(crops.held_out, count)])


def pairs(contents: int, styles: int, count: int) -> list[tuple[int, int]]:
    """`count` different pairs of numbers, or all: each content as often as any other, and each style, to one more or less."""
    turn = math.lcm(contents, styles)  # after which the diagonal is back where it began: go on beside it
    return [(k % contents, (k + k // turn) % styles) for k in range(min(count, contents * styles))]
