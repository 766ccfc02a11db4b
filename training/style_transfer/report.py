"""What the training of a style transfer writes down: held-out contents in held-out styles, and their losses."""

from pathlib import Path

import torch
import torch.nn.functional as F

from networks.style_transfer.feature_losses import STYLE_LOSSES, content_loss
from networks.style_transfer.vgg import VGG, style_features
from torch_utils import distributed
from torch_utils.checkpoint import save_snapshot
from torch_utils.images import from_uint8, save_grid, to_uint8
from torch_utils.interrupt import StopRequest
from torch_utils.run_dir import FAKES_INIT, REALS
from training.run.report import Reporter
from training.style_transfer.config import StyleConfig
from training.style_transfer.crops import Crops
from training.style_transfer.state import StyleState

COLUMNS, ROWS = 6, 4  # of pictures, at most: contents, and styles


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
        self.dataset = f"{contents.name} × {styles.name}"
        self.contents, self.styles = (
            torch.stack([crops.middle(name) for name in crops.held_out]) for crops in (contents, styles)
        )

        shown = F.interpolate(from_uint8(self.styles[:ROWS]), self.contents.shape[2:], mode="bilinear", antialias=True)
        self.shown_styles = to_uint8(shown)  # in the contents' size

    def first_pictures(self) -> None:
        columns = max(min(len(self.contents), COLUMNS), min(len(self.styles), ROWS))
        rows = [images[:columns] for images in (self.contents[:COLUMNS], self.shown_styles)]
        blank = torch.full_like(self.contents[:1], 255)
        padded = [torch.cat([row, blank.expand(columns - len(row), -1, -1, -1)]) for row in rows]
        save_grid(self.run_dir / REALS, torch.cat(padded), columns)
        self.pictures(self.run_dir / FAKES_INIT)

    def pictures(self, path: Path) -> None:
        """Contents in the first row; below, each row in the style of its first cell."""
        contents, styles = self.contents[:COLUMNS], self.styles[:ROWS]
        rows = [torch.cat([torch.full_like(contents[:1], 255), contents])]
        for i in range(len(styles)):
            made = [to_uint8(self._stylize(content[None], styles[i : i + 1])).cpu() for content in contents]
            rows.append(torch.cat([self.shown_styles[i : i + 1], *made]))
        save_grid(path, torch.cat(rows), len(contents) + 1)

    def write_network(self, path: Path) -> None:
        """In half precision: it is for use, and training goes on from the saved state."""
        info = dict(nimg=self.state.nimg, dataset=self.dataset, crop=self.config.crop, seed=self.config.seed)
        save_snapshot(path, "style_transfer", self.state.network, half=True, **info)

    def scores(self) -> list[dict] | None:
        """Of all held-out pairs."""
        style_loss = STYLE_LOSSES[self.config.style_loss]
        sums, count = dict(style_loss=0.0, content_loss=0.0), len(self.contents) * len(self.styles)
        with distributed.all_threads(), torch.no_grad():
            for content in self.contents.split(1):
                for style in self.styles.split(1):
                    if self.stop_request.requested and self.state.nimg:
                        return None
                    result = self.encoder(self._stylize(content, style))
                    sums["style_loss"] += style_loss(result, self._features(style)).item()
                    sums["content_loss"] += content_loss(result, self._features(content)).item()
        common = dict(floor=None, pairs=count, compared=self.config.style_loss)
        return [dict(metric=name, value=total / count) | common for name, total in sums.items()]

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
