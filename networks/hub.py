"""Generators and style transfers that are shared by Hugging Face's hub: `from_pretrained`, `save_pretrained`, `push_to_hub`.

The one file that is read is `model.safetensors`, a snapshot as `train.py` writes it, with the limits that every snapshot has.
`config.json` and `README.md` beside it are for people and for the hub. Needs the extra `hub`; nothing else here does.
"""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self
from urllib.parse import quote

import torch

from networks.generator import Generator as PlainGenerator
from networks.sampling import draw_seed, one_hot
from networks.style_transfer.network import StyleTransfer
from networks.style_transfer.stylizer import Stylizer as PlainStylizer
from networks.style_transfer.stylizer import load_stylizer
from torch_utils.checkpoint import FORMAT, load_generator, read_snapshot, save_snapshot
from torch_utils.files import InputError, atomic_write, first_line, write_json
from torch_utils.images import enlarge, save_grid
from torch_utils.pretrained import find_network
from torch_utils.run_dir import SHARED

try:
    from huggingface_hub import (
        EvalResult,
        ModelCard,
        ModelCardData,
        ModelHubMixin,
        get_hf_file_metadata,
        hf_hub_download,
        hf_hub_url,
    )
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )
except ImportError:
    raise ImportError("sharing needs huggingface_hub, which `pip install -e .[hub]` brings") from None

MAX_BYTES = 4 << 30  # of a network that is fetched
SEEDS, COLUMNS, WIDE = 32, 8, 512  # in the picture of a generator, which is at least so many pixels wide
LICENSE = "apache-2.0"
PAPER_TITLE = "Adaptive Convolutions for Structure-Aware Style Transfer (Chandran et al., CVPR 2021)"
PAPER = (
    "https://openaccess.thecvf.com/content/CVPR2021/html/"
    "Chandran_Adaptive_Convolutions_for_Structure-Aware_Style_Transfer_CVPR_2021_paper.html"
)


class _Shared(ModelHubMixin):
    """What both kinds of networks have in common. Subclasses say what they are, and how they are loaded and drawn with."""

    KIND: ClassVar[str]  # of the snapshot
    TASK: ClassVar[str]  # the hub's word
    WHAT: ClassVar[str]
    USE: ClassVar[str]  # lines of Python
    info: Mapping[str, Any] = MappingProxyType({})  # of the snapshot that it was loaded from
    pictures: Mapping[Path, str] = MappingProxyType({})  # to go beside the card, and what each shows; none: those of `draw`
    _shown: Mapping[Path, str] = MappingProxyType({})  # in the folder that was written last

    @classmethod
    def load(cls, path: Path, **options: Any) -> Self:
        raise NotImplementedError

    @property
    def weights(self) -> PlainGenerator | StyleTransfer:
        raise NotImplementedError

    def use(self, name: str) -> str:
        """How to load and use it under its name on the hub."""
        return self.USE.format(name)

    def draw(self, folder: Path) -> dict[Path, str]:
        """Pictures of a network of which there are none yet."""
        return {}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **options: Any,  # of `load_generator` or `load_stylizer`, such as device
    ) -> Self:
        """From a folder of `save_pretrained`, `user/name` on the hub, or what else --network may be.

        `InputError`, one line, for anything else. Only `model.safetensors` is fetched and read, and it may ask for no more than
        any snapshot.
        """
        where = dict(force_download=force_download, token=token, cache_dir=cache_dir)
        where |= dict(local_files_only=local_files_only, revision=revision)
        path = find(pretrained_model_name_or_path, cls.KIND, **where)
        made = cls.load(path, **options)
        made.info = read_snapshot(path, tensors=False).info
        return made

    def _save_pretrained(self, save_directory: Path) -> None:
        """The same numbers, in half precision where that loses nothing."""
        weights, parameters = self.weights, list(self.weights.parameters())
        half = all(torch.equal(value.half().float(), value.float()) for value in parameters)
        save_snapshot(save_directory / SHARED, self.KIND, weights, half=half, **self.info)
        write_json(save_directory / "config.json", dict(format=FORMAT, kind=self.KIND) | weights.config)  # the hub counts it
        for picture in self.pictures:
            with atomic_write(save_directory / picture.name) as file:
                file.write(picture.read_bytes())
        self._shown = self.pictures or self.draw(save_directory)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **options: Any) -> str:
        """As the mixin has it; `model_card_kwargs` are those of `generate_model_card`. -> where it is"""
        return super().push_to_hub(repo_id, model_card_kwargs=dict(name=repo_id) | (model_card_kwargs or {}), **options)

    def generate_model_card(
        self,
        *,
        title: str = "",
        text: str = "",  # Markdown; "": what the network says of itself
        license: str = LICENSE,
        scores: Iterable[tuple[str, float]] = (),  # name and value
        name: str = "USER/NAME",  # on the hub
    ) -> ModelCard:
        """Metadata for the hub, what it is, how to use it, what is known of it, and pictures."""
        title = title or f"{self.WHAT}, {self.info.get('dataset') or 'AdaConv'}".replace("\n", " ")
        results = [
            EvalResult(
                task_type=self.TASK,
                dataset_type="custom",
                dataset_name=str(self.info.get("dataset") or "training images"),
                metric_type=metric.split("_")[0],
                metric_name=metric,
                metric_value=value,
            )
            for metric, value in scores
        ]
        data = ModelCardData(
            model_name=title,
            library_name="adaconv",
            license=license,
            pipeline_tag=self.TASK,
            tags=["adaconv", self.KIND.replace("_", "-")],
            eval_results=results or None,
        )
        shown = [f"![{what.split('.')[0]}]({quote(path.name)})\n\n{what}" for path, what in self._shown.items()]
        use = f"From a checkout of the code, with `pip install -e .[hub]`:\n\n```python\n{self.use(name)}\n```"
        by = f"{self.WHAT}, trained by a PyTorch implementation of [{PAPER_TITLE}]({PAPER}), which is covered by patents."
        parts = [f"# {title}", by, *shown, use, text or self._own_words()]
        return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")

    def _own_words(self) -> str:
        facts = dict(parameters=f"{sum(p.numel() for p in self.weights.parameters()):,}")
        facts |= {"images seen": f"{self.info['nimg']:,}"} if "nimg" in self.info else {}
        if names := self.info.get("label_names"):
            facts["classes"] = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
        facts |= {name.replace("_", " "): str(value) for name, value in self.weights.config.items() if value is not None}
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |".replace("\n", " ") for name, value in facts.items())])


class Generator(PlainGenerator, _Shared):
    """`networks.generator.Generator` that can be shared."""

    KIND, TASK, WHAT = "generator", "unconditional-image-generation", "Generator of images"
    USE = (
        "import torch\n"
        "from networks.hub import Generator\n\n"
        'G = Generator.from_pretrained("{}")\n'
        "images = G(torch.randn(4, G.z_dim){})  # [4, C, H, W], about [-1, 1]"
    )

    def use(self, name: str) -> str:
        return self.USE.format(name, f", torch.eye({self.c_dim})[[0, 0, 0, 0]]" if self.c_dim else "")

    @classmethod
    def load(cls, path: Path, **options: Any) -> Self:
        return load_generator(path, **options, kind=cls)

    @property
    def weights(self) -> PlainGenerator:
        return self

    def draw(self, folder: Path) -> dict[Path, str]:
        labels = [one_hot([seed % self.c_dim], self.c_dim) if self.c_dim else None for seed in range(SEEDS)]
        images = torch.stack([draw_seed(self, seed, c).cpu() for seed, c in enumerate(labels)])
        factor = max(math.ceil(WIDE / (COLUMNS * images.shape[3])), 1)
        save_grid(folder / "seeds.png", enlarge(images, factor), COLUMNS)
        return {folder / "seeds.png": f"These are the seeds 0 to {SEEDS - 1}, not chosen."}


class Stylizer(PlainStylizer, _Shared):
    """`networks.style_transfer.stylizer.Stylizer` that can be shared; its encoder, VGG, is not in the file."""

    KIND, TASK, WHAT = "style_transfer", "image-to-image", "Style transfer"
    USE = (
        "from networks.hub import Stylizer\n\n"
        's = Stylizer.from_pretrained("{}")\n'
        "images = s.stylize_like(contents, styles)  # RGB [N, 3, H, W] in [-1, 1]"
    )

    @classmethod
    def load(cls, path: Path, **options: Any) -> Self:
        return load_stylizer(path, **options, kind=cls)

    @property
    def weights(self) -> StyleTransfer:
        return self.network


KINDS = {kind.KIND: kind for kind in (Generator, Stylizer)}


def find(name_or_path: str | Path, kind: str, **where: Any) -> Path:
    """The file of a network. `kind` and what is no `user/name`: as in `find_network`; `where`: as `hf_hub_download` has it.

    `InputError`, one line, for what is not there, is too large or cannot be reached.
    """
    name = str(name_or_path)
    if os.path.exists(name) or "/" not in name:
        return find_network(name_or_path, kind)
    nowhere = f"{name}: no such folder or file, and"
    try:
        if not where.get("local_files_only"):
            try:
                size = get_hf_file_metadata(
                    hf_hub_url(name, SHARED, revision=where.get("revision")), token=where.get("token")
                ).size
                if size is None or size > MAX_BYTES:
                    raise InputError(f"{name}: its {SHARED} has {size or 'untold'} bytes, wanted {MAX_BYTES} at most")
            except (InputError, HfHubHTTPError, HFValidationError):
                raise
            except Exception:  # of whichever library fetches: the hub cannot be reached
                where |= dict(local_files_only=True, force_download=False)
        return Path(hf_hub_download(name, SHARED, **where))
    except InputError:
        raise
    except HFValidationError:
        raise InputError(f"{nowhere} no name of the hub, which is like user/name") from None
    except RepositoryNotFoundError:
        raise InputError(f"{nowhere} the hub has no such network, or it is private and you are not logged in") from None
    except LocalEntryNotFoundError:
        raise InputError(f"{nowhere} the hub cannot be reached; it was not fetched before, either") from None
    except EntryNotFoundError:
        raise InputError(f"{name}: on the hub it has no {SHARED}, as push_to_hub writes it; pickles are not opened") from None
    except Exception as error:  # of whichever library fetches
        raise InputError(f"{name}: cannot be fetched from the hub: {first_line(error)[:200]}") from None
