"""A trained network as a folder that others can load, or on Hugging Face's hub: `python -m scripts.share --network runs …`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts import card, card_style
from scripts.card_text import choose_snapshot, record_of, records_text
from torch_utils.archive import open_images
from torch_utils.checkpoint import read_snapshot
from torch_utils.cli import command, run
from torch_utils.files import InputError, first_line, make_folders
from torch_utils.local_path import LocalPath
from torch_utils.platform import choose_device, keep_freed_memory
from torch_utils.pretrained import find_network
from torch_utils.run_dir import OPTIONS
from torch_utils.score_names import caveat
from training.run.run_records import RunRecords

README = "README.md"


@command()
@click.option(
    "--network",
    type=click.Path(path_type=Path),
    required=True,
    help="name in pretrained/, snapshot, run directory, or --outdir of runs",
)
@click.option("--outdir", type=LocalPath(file_okay=False), help="a new folder to write")
@click.option("--push", metavar="USER/NAME", help="send it to the hub, as you are logged in there by `hf auth login`")
@click.option("--private", is_flag=True, help="with --push: for nobody else yet, where the network is new there")
@click.option("--license", default="apache-2.0", help="of the network, by the hub's word; mind that of the training images")
@click.option("--title", default="", show_default=False, help="of the card  [default: what it is, and of which data]")
@click.option("--picture", type=LocalPath(dir_okay=False), help="of the card  [default: what it draws]")
@click.option("--device", help="cpu, cuda, mps …  [default: the best there is]")
def main(network, outdir, push, private, license, title, picture, device):
    """Write a trained network as `from_pretrained` reads it, with a card from its run's own records; or send it to the hub.

    The folder has the weights (model.safetensors), the configuration (config.json), a card with metadata, scores and
    pictures (README.md), and nothing that could run. Of a run directory it takes the best scored snapshot, else the
    newest. Nothing is sent without --push. Needs the extra `hub`.

    \b
    Examples:
      python -m scripts.share --network runs --outdir shared
      python -m scripts.share --network runs --push USER/NAME --private
    """
    if not outdir and not push:
        raise InputError("wanted --outdir FOLDER, --push USER/NAME, or both")
    if private and not push:
        raise InputError("--private: has no say without --push")
    if outdir and outdir.exists() and (not outdir.is_dir() or any(outdir.iterdir())):
        raise InputError(f"--outdir {outdir}: exists already; name another, or delete it first")
    if picture:
        picture = read_single(picture)
    kinds = require_hub()
    keep_freed_memory()
    path, records, why = choose(network)
    kind = kinds.get(found := read_snapshot(path, tensors=False).kind)
    if kind is None:
        raise InputError(f"{path}: is a {found or 'network of unknown kind'}, wanted one of {', '.join(kinds)}")
    with tempfile.TemporaryDirectory() as folder:
        shared = kind.from_pretrained(path, device=choose_device(device))
        said = dict(license=license, title=title)
        if records:
            said |= words_of_records(shared, records, path, why, Path(folder) / "card")
        if picture:
            shared.pictures = {picture: "What it draws."}
        if outdir:
            make_folders(outdir)
            shared.save_pretrained(outdir, model_card_kwargs=said)
            print(f"Written:       {outdir}; look at {outdir / README}")
        if push:
            print(f"Sent:          {send(shared, push, private or None, said)}")


def require_hub() -> dict[str, Any]:
    """Kind of network -> class that can be shared; `InputError` without the extra."""
    try:
        from networks.hub import KINDS
    except ImportError as error:
        raise InputError(str(error)) from None
    return KINDS


def read_single(picture: Path) -> Path:
    """The file of an image; `InputError` for anything else."""
    archive = open_images(picture)
    if len(archive.names) != 1 or Path(archive.path) / archive.names[0] != picture:
        raise InputError(f"--picture {picture}: wanted one image")
    archive.image(archive.names[0])
    return picture


def choose(network: Path) -> tuple[Path, RunRecords | None, str]:
    """The snapshot, the records of its run if there are any, and why it is this snapshot."""
    path = find_network(network)
    named = network.is_dir() and path.is_relative_to(network)  # and not a file in pretrained/ of the folder's name
    records = RunRecords(path.parent) if (path.parent / OPTIONS).is_file() else None
    why = "as asked for"
    if records and named:
        path, why = choose_snapshot(records, None)
        print(f"Shared:        {path} ({why})")
    return path, records, why


def words_of_records(shared: Any, records: RunRecords, path: Path, why: str, stem: Path) -> dict[str, Any]:
    """Arguments of the card, from the records of its run; `shared` gets pictures of it, which begin with `stem`."""
    if shared.KIND == "generator":
        table = card.facts(records, path, why, shared)
        shared.pictures = card.draw_pictures(records, shared, stem, next(shared.parameters()).device)
    else:
        table = card_style.facts(records, path, why, shared)
        shared.pictures = card_style.pictures(records, shared, stem)
    found = {name: record for name, scored in records.scores_of_files.items() if (record := record_of(scored, path))}
    scores = [(name, record["value"]) for name, record in found.items() if not caveat(record)]  # there is no room for one
    return dict(text=records_text(table, records.said("Command line")), scores=scores)


def send(shared: Any, name: str, private: bool | None, said: dict[str, Any]) -> str:
    """-> where it is. `InputError` for what the hub does not take, or where it cannot be reached."""
    try:
        return shared.push_to_hub(name, private=private, model_card_kwargs=said)
    except InputError:
        raise
    except Exception as error:  # of whichever library sends
        raise InputError(f"--push {name}: the hub did not take it, or cannot be reached: {first_line(error)[:200]}") from None


if __name__ == "__main__":
    run(main)
