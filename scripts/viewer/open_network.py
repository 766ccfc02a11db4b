"""A generator that is open in the viewer: from a `Look` to styles, and to a picture."""

import threading
from pathlib import Path

import torch

from networks.directions import find_directions, kernel_parts, moved
from networks.generator import Generator
from networks.generator_kernels import predicted_kernels
from networks.sampling import class_vector, draw_styles, seed_styles
from networks.style_transfer.kernel_picture import kernel_picture
from scripts.viewer.look import Look
from torch_utils.checkpoint import load_generator, read_snapshot
from torch_utils.directions_file import Directions, load_directions
from torch_utils.files import InputError
from torch_utils.pretrained import PRETRAINED, find_network

PRINCIPAL, SAMPLES = 6, 2000  # directions that are found, from so many styles
DRAWING = threading.Lock()  # PyTorch's random numbers belong to the whole process: one picture at a time


class OpenNetwork:
    def __init__(self, name: Path, device: torch.device | str = "cpu", directions: Path | None = None):
        path = find_network(name, "generator")
        self.name = path.stem if path.parent == PRETRAINED else str(path)  # of --network; the snapshot, not its folder
        self.G: Generator = load_generator(path, device)
        self.label_names: list[str] | None = read_snapshot(path, tensors=False).info.get("label_names")
        self.predicts_kernels = self.G.config["modulation"] == "adaconv"
        self.directions_file = directions
        self.directions = self._load_directions(directions) if directions else self._principal_directions()

    def _load_directions(self, path: Path) -> Directions:
        return load_directions(path, self.G.num_ws, self.G.w_dim, kernel_parts(self.G))

    def _principal_directions(self) -> Directions:
        """A few, quickly found, so that there are some to try; of a conditional network those of its first class."""
        c = class_vector(self.G.c_dim, self.classes[0] if self.classes else None, self.label_names, Path(self.name))
        count, layers = min(PRINCIPAL, self.G.w_dim), list(range(self.G.num_ws))
        found = find_directions(self.G, "ganspace", count, layers, samples=SAMPLES, c=c)
        return found._replace(names=[f"direction {i + 1}" for i in range(count)])

    @property
    def classes(self) -> list[str]:
        """What `--class` takes; empty for an unconditional network."""
        return self.label_names or [str(i) for i in range(self.G.c_dim)]

    @property
    def layers(self) -> list[str]:
        """A name for each, with the size of its map."""
        sizes = [self.G.synthesis.resolutions[(i + 1) // 2] for i in range(self.G.num_ws)]
        return [f"{i} · {width}×{height}" for i, (height, width) in enumerate(sizes)]

    def label(self, look: Look) -> str | None:
        """The class to draw: where this network does not know that of the look, its first."""
        if not self.classes:
            return None
        return look.label if look.label in self.classes else self.classes[0]

    def truncation(self, look: Look) -> tuple[float, int | None]:
        """psi, and how many layers it is for; None: all."""
        whole = look.cutoff is None or look.cutoff >= self.G.num_ws
        return look.psi, None if whole or look.psi == 1 else look.cutoff

    def own(self, layers: tuple[int, ...]) -> list[int]:
        """Those that there are."""
        return [layer for layer in layers if layer < self.G.num_ws]

    def own_parts(self, look: Look) -> dict[str, int]:
        """Seeds of the parts of kernels that this network predicts."""
        return {part: seed for part, seed in look.part_seeds.items() if part in kernel_parts(self.G)}

    def moves(self, look: Look) -> list[tuple[int, float]]:
        """Number of a direction and how far to go, where that is anywhere."""
        return [(i, amount) for i, amount in enumerate(look.amounts[: len(self.directions.names)]) if amount]

    def step(self, index: int, amount: float) -> str | None:
        """A move as `--direction` of generate.py takes it; None where the directions are in no file."""
        return f"{self.directions_file}:{self.directions.names[index]}={amount!r}" if self.directions_file else None

    @torch.inference_mode()
    def styles(self, look: Look) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """ws [1, num_ws, w_dim], and those of parts of the kernels that come from elsewhere."""
        G = self.G
        psi, cutoff = self.truncation(look)
        c = class_vector(G.c_dim, self.label(look), self.label_names, Path(self.name))
        of = lambda seed: seed_styles(G, seed, c, psi, cutoff)
        ws = of(look.seed) if look.position == 0 else of(look.seed).lerp(of(look.seed_to), look.position)
        ws = of(look.seed_to) if look.position == 1 else ws
        if layers := self.own(look.mix_layers):
            ws[:, layers] = of(look.mix_seed)[:, layers]
        ws, parts = moved(ws, [(self.directions, *move) for move in self.moves(look)])
        if layers := self.own(look.part_layers):
            for part, seed in self.own_parts(look).items():
                parts[part] = parts.get(part, ws).clone()
                parts[part][:, layers] = of(seed)[:, layers]
        return ws, parts

    def draw(self, look: Look, noise_seed: int = 0) -> torch.Tensor:
        """uint8 [C, H, W]"""
        with DRAWING:
            ws, parts = self.styles(look)
            return draw_styles(self.G, ws, noise_seed, look.noise_mode, parts)

    def kernels(self, look: Look, layer: int) -> torch.Tensor:
        """Picture of the kernels that a layer predicts, uint8 [3, H, W]. `InputError` where it predicts none."""
        if not self.predicts_kernels:
            modulation = self.G.config["modulation"]
            raise InputError(f"{self.name} predicts no kernels: its modulation is {modulation}")
        if not 0 <= layer < self.G.num_ws:
            raise InputError(f"found layer {layer}, wanted one from 0 to {self.G.num_ws - 1}")
        with DRAWING:
            return kernel_picture([predicted_kernels(self.G, *self.styles(look))[layer]])
