"""How a training run starts, new or resumed, in which directory, and what is printed about it.

A resume begins in `begin`, which finds the run directory and its options. The command's processes then load the state
(`saved_state.SavedState.load`), and read the data from where it stopped (`nimg`).
"""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import torch

from torch_utils.cli import command_line, counted
from torch_utils.cores import claimed_cores, threads_in_words
from torch_utils.files import InputError, read_json, replace_by_copy, write_json
from torch_utils.platform import machine_in_words
from torch_utils.precision import AUTO, resolve_precision
from torch_utils.run_dir import LOG, OPTIONS, PREVIOUS_OPTIONS, RUNS, SNAPSHOTS, new_run_dir, read_options, states
from torch_utils.stats import Log
from torch_utils.tensor_file import digest
from torch_utils.tracking import require_tracker
from training.run.health import Diverged
from training.run.options import RunConfig, options_of
from training.run.saved_state import SavedState

# How long, how chatty and how greedy a run is, how many processes share it, and what is not asked for but recorded.
RECORDED = {"run", "warm_start", "features_seen", "squares_apart"}
FREE = {"kimg", "tick", "snap", "save_every", "metrics", "workers", "threads", "gpus", "batch_gpu", "track", *RECORDED}
STYLEGAN_NAMES = ("ffhq256", "ffhq512", "ffhq1024", "celebahq256", "lsundog256")  # what StyleGAN2-ADA's --resume knows
MAX_LEFT_OUT = 20  # images that are named
Config = TypeVar("Config", bound=RunConfig)


@dataclasses.dataclass
class Start:
    """What a command is to do, by its options."""

    config: Any  # of the command's kind
    why: str  # this precision; "" where it was asked for
    run_dir: Path | None  # to go on in; None: a new one
    saved: bool  # `run_dir` has a state to go on from
    snapshot: Path | None  # network to begin from
    resume: str | None  # as asked for


def begin(
    kind: type[RunConfig],
    resolve: Callable[[dict], RunConfig],  # options of a new run -> its configuration
    options: dict,  # of the command; None where it was not given
    outdir: Path,
    resume: str | None,  # run directory, snapshot, or auto
    device: torch.device,
    snapshots: bool = False,  # `resume` may be one
) -> Start:
    run_dir, snapshot = _source(resume, snapshots)
    undecided, why = decide(options, device)
    if run_dir:
        config = restore(kind, run_dir, {k: v for k, v in options.items() if v is not None and k not in undecided})
    else:
        config = resolve(options)
    if snapshot:
        config = dataclasses.replace(config, warm_start=True)
    if resume == "auto":
        run_dir = find_run(outdir, config, undecided)
    require_tracker(config.track)
    saved = run_dir is not None and (resume != "auto" or bool(states(run_dir)))
    if saved:  # a run that goes on keeps what it has, on whatever machine
        stored = stored_options(kind, run_dir)
        kept = (RECORDED | undecided) & set(options_of(kind))
        config = dataclasses.replace(config, **{name: getattr(stored, name) for name in kept})
        why = "as the run was begun" if "precision" in undecided else ""
    return Start(config, why, run_dir, saved, snapshot, resume)


def _source(resume: str | None, snapshots: bool) -> tuple[Path | None, Path | None]:
    """Run directory and snapshot that --resume names; `InputError` where it is neither."""
    if resume in (None, "auto"):
        return None, None
    path, wanted = Path(resume), "a run directory" + " or a .safetensors of train.py" * snapshots
    if resume == "noresume":
        raise InputError(f"--resume {resume}: leave --resume out to begin anew")
    if "://" in resume:
        raise InputError(f"--resume {resume}: nothing is fetched from elsewhere; wanted {wanted}")
    if path.suffix == ".pkl" or resume in STYLEGAN_NAMES and not path.exists():
        why = "StyleGAN's networks are pickles, which may run any code, and have other layers, so they are not opened"
        raise InputError(f"--resume {resume}: {why}; wanted {wanted}")
    if not (path.is_dir() or snapshots and path.exists()):
        raise InputError(f"--resume {resume}: no such run directory{' or network file' * snapshots}")
    return (path, None) if path.is_dir() else (None, path)


def decide(options: dict, device: torch.device) -> tuple[set[str], str]:
    """Fill in `precision` and `threads` where they were left open; -> their names, and why it is this precision.

    The cores are claimed until the command that runs comes to its end.
    """
    undecided = {"precision"} if options["precision"] in (None, AUTO) else set()
    options["precision"], why = resolve_precision(options["precision"] or AUTO, device)
    if options["threads"] is None and device.type == "cpu":
        undecided.add("threads")
        options["threads"] = max(click.get_current_context().with_resource(claimed_cores()), 1)
    return undecided, why


def stored_options(kind: type[Config], run_dir: Path) -> Config:
    """The options of an earlier run."""
    values = read_json(run_dir / OPTIONS, links=False)
    return kind.from_json(kind.BEFORE | values if isinstance(values, dict) else values, run_dir / OPTIONS)


def restore(kind: type[RunConfig], run_dir: Path, given: dict) -> RunConfig:
    """The options of an earlier run, but for those given now, and for what goes with them."""
    stored = stored_options(kind, run_dir)
    if given.get("cfg", stored.cfg) != stored.cfg:
        raise InputError(f"--cfg {given['cfg']}: presets are for new runs; {run_dir} was begun with {stored.cfg}")
    values = stored.to_json()
    tables = {name: values[name] | value for name, value in given.items() if isinstance(value, dict) and values[name]}
    return kind.from_json(values | stored.going_with(given) | given | tables)


def find_run(outdir: Path, config: RunConfig, undecided: Container[str] = ()) -> Path | None:
    """The newest run directory with these options; how long and how chatty a run is does not count, nor do the `undecided`
    options, which nobody has chosen and another machine may have set otherwise.

    Where none has a saved state, one that ended before it had any is begun anew.
    """
    fixed = lambda config: {k: v for k, v in dataclasses.asdict(config).items() if k not in FREE and k not in undecided}
    begun = []
    for path in sorted(outdir.glob(RUNS), reverse=True):
        stored = _options_of_kind(type(config), path)
        if stored is None:
            continue
        if fixed(stored) == fixed(config):
            if states(path):
                return path
            if not any(path.glob(SNAPSHOTS)):  # else somebody has thrown its state away
                begun.append(path)
    return begun[0] if begun else None


def _options_of_kind(kind: type[Config], run_dir: Path) -> Config | None:
    """None where there are none yet, or those of the other trainer. `InputError` for damaged ones: they may be of the very run
    that is looked for, and a new one from zero is not what anybody wants then."""
    try:
        if not os.path.lexists(run_dir / OPTIONS):
            return None
        return stored_options(kind, run_dir)
    except InputError as error:
        needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
        values = read_options(run_dir, quiet=True)
        if values and not needed <= set(values):
            return None
        raise InputError(f"--resume auto: {error}; mend that, move {run_dir} away, or name a run") from None


def fingerprint(config: RunConfig, *images: str) -> str:
    """Of the options that make a run what it is, and of its images in words."""
    fixed = {name: value for name, value in config.to_json().items() if name not in FREE}
    return digest([json.dumps([fixed, *images], sort_keys=True).encode()])[:32]


@contextlib.contextmanager
def run_directory(start: Start, outdir: Path, *traits: str) -> Iterator[Path]:
    """The run's own directory, or a new one, which is removed where an error ends the run before anything was learned."""
    run_dir = start.run_dir or new_run_dir(outdir, *traits)
    print(f"Run directory: {run_dir}")
    try:
        yield run_dir
    except (InputError, OSError) as error:
        if not start.run_dir and not states(run_dir) and not isinstance(error, Diverged):
            shutil.rmtree(run_dir)
        raise


def write_start(run_dir: Path, config: RunConfig, header: str) -> None:
    """The options, for a resume, of which the ones before are kept; and in the log, what was printed before there was one."""
    if read_options(run_dir, quiet=True) not in ({}, config.to_json()):
        replace_by_copy(run_dir / OPTIONS, run_dir / PREVIOUS_OPTIONS)
    write_json(run_dir / OPTIONS, config.to_json())
    with contextlib.closing(Log(run_dir / LOG)) as log:
        log.write(header)


def print_config(
    start: Start,
    state: SavedState,
    data: Iterable[str],  # lines
    networks: Iterable[tuple[str, torch.nn.Module]],
    device: torch.device,
    processes: str = "",  # in words
    notes: Iterable[str] = (),  # further lines
) -> str:
    """Print everything that the run is determined by; -> the same text, and the command line, for the log."""
    config = start.config
    lines = [json.dumps(config.to_json(), indent=2), *data]
    lines += [f"{name + ':':<14} {sum(p.numel() for p in network.parameters()):,} parameters" for name, network in networks]
    lines.append(f"Device:        {device}{processes and f', {processes}'}{threads_in_words(config.threads)}")
    lines.append(f"Machine:       {machine_in_words(device)}")
    lines.append(f"Precision:     {config.precision}{start.why and f' ({start.why})'}")
    if start.saved:
        lines.append(f"Resuming:      {start.run_dir} at {state.nimg / 1000:.3f} kimg")
    elif start.resume == "auto":
        lines.append("Resuming:      nothing, as no run with these options has saved a state yet")
    lines += notes
    print("\n".join(lines))
    return "\n".join([f"Command line:  {command_line()}", *lines])


def warn_of_left_out(reasons: Mapping[str, str]) -> str:
    """Name images and shards that cannot be read, and count them; -> words for the line about the data."""
    for reason in list(reasons.values())[:MAX_LEFT_OUT]:
        print(f"warning: left out: {reason}", file=sys.stderr)
    if not reasons:
        return ""
    shards = sum(name.endswith(".zip") for name in reasons)  # no image is called so
    images = [counted(len(reasons) - shards, "image")] if len(reasons) > shards else []
    parts = " and ".join(images + ([counted(shards, "shard")] if shards else []))
    print(f"warning: {parts} in all cannot be read, left out", file=sys.stderr)
    return f"; {parts if shards else len(reasons)} left out that cannot be read"
