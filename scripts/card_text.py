"""What the cards of all networks have in common: the words of a run's records, and the page."""

import dataclasses
import re
import shlex
from pathlib import Path

import torch

from scripts.output import markdown
from torch_utils.checkpoint import read_snapshot, save_snapshot
from torch_utils.cli import duration
from torch_utils.files import InputError, atomic_write, is_url, make_folders, name_of_url
from torch_utils.run_dir import SNAPSHOTS
from torch_utils.score_names import caveat, is_distance
from training.run.options import RunConfig, options_of
from training.run.run_records import RunRecords

ROOT = Path(__file__).resolve().parents[1]
MAX_PACKED = 12 * 10**6  # bytes, of a network in the repository
FREE = (
    "data",
    "content",
    "style",
    "workers",
    "threads",
    "save_every",
    "gpus",
    "cfg",
    "tick",
    "snap",
    "metrics",
    "run",
)  # options that are not about the result, or said elsewhere


def choose_snapshot(records: RunRecords, asked: Path | None) -> tuple[Path, str]:
    """And why it is this one. The best by the run's first distance, on features that training has not looked at where there is
    such a one; where nothing was scored, the newest."""
    if asked:
        path = next((path for path in (records.run_dir / asked, asked) if path.is_file()), None)
        if path is None or path.resolve().parent != records.run_dir.resolve():
            raise InputError(f"--network {asked}: {records.run_dir} has no such snapshot")
        return path, "as asked for"
    snapshots = sorted(records.run_dir.glob(SNAPSHOTS))
    if not snapshots:
        raise InputError(f"{records.run_dir}: found no network-snapshot-….safetensors")
    names = [*(records.options.get("metrics") or ()), *records.scores]
    names.sort(key=lambda name: any(map(caveat, records.scores.get(name, [])[-1:])))
    for metric in (name for name in names if is_distance(str(name)) and name in records.scores):
        if scored := [
            (record["value"], path) for path in snapshots if (record := record_of(records.scores_of_files[metric], path))
        ]:
            words = caveat(records.scores[metric][-1])
            return min(scored)[1], f"the best of {len(scored)} by {metric}" + (f", {words}" if words else "")
    return snapshots[-1], "the newest; none was scored by a distance"


def record_of(scored: list[dict], network: Path) -> dict | None:
    """The record of this file, and not of one that it replaced: names have whole kimg, so two snapshots may share one."""
    named = [record for record in scored if record.get("snapshot") == network.name]
    nimg = read_snapshot(network, tensors=False).info.get("nimg", 0) if named else None
    return next((record for record in named if record["nimg"] == nimg), None)


def pack(source: Path, target: Path, network: torch.nn.Module) -> str:
    """Write the network of the snapshot `source` in half precision, as `pretrained/` has it; -> its size in words."""
    if too_large := [name for name, value in network.named_parameters() if not value.half().isfinite().all()]:
        raise InputError(f"--pack: {source}: {too_large[0]} has numbers that half precision cannot hold")
    make_folders(target.absolute().parent)
    header = read_snapshot(source, tensors=False)
    save_snapshot(target, header.kind, network, half=True, **header.info)
    size = target.stat().st_size
    above = f", more than the {MAX_PACKED / 10**6:g} MB that the repository takes" if size > MAX_PACKED else ""
    return f"{size / 10**6:.2f} MB{above}"


def without_folders(text: str) -> str:
    """A command line without the places that it ran on: of a path from elsewhere or a URL only the last part is left."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text
    return " ".join(word if word == "…" else shlex.quote(shorter(word)) for word in words)


def shorter(word: str) -> str:
    """Of a path that is absolute or leads upwards, and of a URL, the last part; also in `--data=PATH`."""
    if option := re.match(r"-*[\w-]+=", word):
        return option[0] + shorter(word[option.end() :])
    if is_url(word):  # which may have a password in it, or a signature
        return name_of_url(word)
    path, parts = Path(word), re.split(r"[\\/]", word.rstrip("\\/"))
    if ".." not in parts and path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    elsewhere = path.is_absolute() or ".." in parts or re.match(r"[A-Za-z]:[\\/]|\\\\|~", word)
    return parts[-1] if elsewhere else word


def options_in_words(config: type[RunConfig], preset: dict, options: dict) -> tuple[str, str]:
    """What the preset sets, and what differs from preset and defaults; names as on the command line."""
    defaults = {f.name: f.default for f in dataclasses.fields(config) if f.name in options and f.name not in FREE}
    known = options_of(config)
    plain = lambda value: list(value) if isinstance(value, tuple) else value
    shown = lambda name: shorter(options[name]) if known[name].path and options[name] else options[name]
    words = lambda name: f"{known[name].name or name.replace('_', '-')} {in_words(shown(name))}"
    of_preset = [name for name in defaults if name in preset and options[name] == plain(preset[name])]
    beyond = [name for name in defaults if name not in of_preset and options[name] != plain(defaults[name])]
    listed = lambda names: ", ".join(map(words, names)) or "none"
    cfg = options.get("cfg", config.__dataclass_fields__["cfg"].default)
    return f"`{cfg}`: {listed([name for name in of_preset if options[name] != plain(defaults[name])])}", listed(beyond)


def in_words(value) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={in_words(part)}" for name, part in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def run_rows(records: RunRecords, nimg: float) -> list[tuple[str, str]]:
    """Rows of a card about the training up to `nimg` images, and the machine."""
    said = lambda name: "; later ".join(records.said(name))
    seconds, pace, options = records.seconds(nimg), "not recorded", records.options
    if seconds and nimg:
        pace = f"{duration(seconds)}, {seconds / nimg * 1000:.3g} s/kimg; scores and pictures not counted"
    return [
        ("images seen", f"{nimg:,}" + (f", in steps of {options['batch']}" if "batch" in options else "")),
        ("time of training", pace),
        ("machine", "; ".join(filter(None, [said("Machine") or "not recorded", said("Device"), said("Precision")]))),
    ]


def what_was_read(records: RunRecords, name: str) -> str:
    """The line of the log about images, without what it says of memory."""
    return re.sub(r", kept in memory [(].*?[)]", "", "; later ".join(records.said(name)))


def score_rows(records: RunRecords, network: Path) -> list[tuple[str, str]]:
    """Rows of a card with the scores of this network file, one for each metric."""
    return [
        (f"`{metric}`", _score_in_words(record, scored[0], records.start))
        for metric, scored in records.scores_of_files.items()
        if (record := record_of(scored, network))
    ]


def _score_in_words(record: dict, first: dict, start: str) -> str:
    """`first`: the metric's first record; `start`: what a network of no images is."""
    parts = {name: record[name] for name in ("precision", "recall", "density", "coverage") if name in record}
    words = ", ".join(f"{name} {value:.3g}" for name, value in parts.items()) or f"{record['value']:.4g}"
    if record.get("interval"):
        words += " (95 %: {:.4g} to {:.4g})".format(*record["interval"])
    reals = record.get("between_reals") or {}
    if parts and reals:
        words += "; real vs. real " + ", ".join(f"{name} {reals[name]:.3g}" for name in parts if name in reals)
    elif record["floor"] is not None:
        words += f"; real vs. real {record['floor']:.4g}"
    if record.get("floor_counts"):
        words += " ({} against {})".format(*record["floor_counts"])
    if first["nimg"] == 0 and not parts:
        words += f"; {start} {first['value']:.4g}"
    if record["way_left"] is not None:
        words += f"; **normalized {record['way_left']:.2f}** (1: untrained, 0: as good as real images)"
    return words + (f"; **{caveat(record)}**" if caveat(record) else "")


def records_text(table: list[tuple[str, str]], commands: list[str]) -> str:
    """What a run's records say, as a table and a block of command lines."""
    cells = [[name, value.replace("|", "\\|")] for name, value in table]
    shown = "\n".join(map(without_folders, commands)) or "# not recorded"
    return markdown(["", ""], cells) + f"\n\n```\n{shown}\n```"


def write_card(path: Path, title: str, table: list[tuple[str, str]], commands: list[str], pictures: dict[Path, str]) -> None:
    """`pictures`: files beside the card, and what each shows."""
    parts = [f"# {title}", records_text(table, commands)]
    parts += [f"![{file.stem}]({file.name})\n\n{text}" for file, text in pictures.items()]
    with atomic_write(path, "w") as file:
        file.write("\n\n".join(parts) + "\n")
