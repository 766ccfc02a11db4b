"""Does a long training run leak? `python -m scripts.soak --outdir DIR` trains the smallest networks for many steps.

From outside, at every tick, it counts what `train.py` and its data worker have: memory, open files, threads, and the disk
space of the run directory. Ends with 1 where one of them grew. Needs psutil.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import psutil

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.output import markdown
from torch_utils.cli import Progress, command, run
from torch_utils.files import TEMPORARY, InputError
from torch_utils.run_dir import LOG, METRICS, PAGE, RUNS, SNAPSHOTS, STATS
from torch_utils.stats import read_jsonl

ROOT = Path(__file__).resolve().parents[1]
BATCH, SIDE, TICKS, SNAP = 2, 8, 100, 4  # images a step, their size, samples of a soak, ticks between two snapshots
MAX_GROWTH = {"memory": 0.02, "open files": 0, "threads": 0, "disk": 0.02}  # share by which a column may grow
# Its images are few enough to be kept in memory, but a data worker is to be soaked, too.
TRAIN = "import runpy, training.image_memory as memory; memory.KEPT_BYTES = 0; runpy.run_path('train.py', run_name='__main__')"
KEPT = (SNAPSHOTS, "fakes*.png", PAGE, STATS, METRICS, LOG)  # what a run piles up on purpose


def count(process: psutil.Process, run_dir: Path) -> dict[str, float]:
    """Memory and disk in MB. `disk` is without what is kept on purpose, which is `kept`."""
    family = [process, *process.children(recursive=True)]
    files = {path: path.stat().st_size / 1e6 for path in run_dir.iterdir() if not path.name.endswith(TEMPORARY)}
    kept = sum(size for path, size in files.items() if any(path.match(pattern) for pattern in KEPT))
    return {
        "memory": sum(member.memory_info().rss for member in family) / 1e6,
        "open files": sum(member.num_handles() if psutil.WINDOWS else member.num_fds() for member in family),
        "threads": sum(member.num_threads() for member in family),
        "disk": sum(files.values()) - kept,
        "kept": kept,
    }


def soak(arguments: list[str], outdir: Path, ticks: int) -> Iterator[dict[str, float]]:
    """Run train.py, and count after each of the first `ticks` ticks."""
    with subprocess.Popen([sys.executable, "-c", TRAIN, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        seen = 0
        while process.poll() is None:
            time.sleep(0.5)  # a tick that has a snapshot also ends within it
            for run_dir in outdir.glob(RUNS):
                records = read_jsonl(run_dir / STATS)[:ticks]
                if len(records) > seen:
                    seen = len(records)
                    time.sleep(0.5)
                    yield {"step": records[-1]["step"]} | count(psutil.Process(process.pid), run_dir)
    if process.returncode:
        raise InputError(f"train.py ended with {process.returncode}")


@command()
@click.option("--outdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="new folder for the run")
@click.option(
    "--data",
    default=ROOT / "datasets" / "emoji32.zip",
    type=click.Path(path_type=Path),
    show_default=False,
    help="images to shrink  [default: datasets/emoji32.zip]",
)
@click.option("--steps", default=20000, type=click.IntRange(TICKS), help="length")
def main(outdir: Path, data: Path, steps: int):
    """Train for long, and say whether memory, open files, threads and disk stay as they are."""
    if outdir.exists() and any(outdir.iterdir()):
        raise InputError(f"--outdir {outdir}: is not empty; wanted a new folder")
    small, side = outdir / "data.zip", f"{SIDE}x{SIDE}"
    shrink = [sys.executable, str(ROOT / "scripts" / "dataset_tool.py"), "--source", str(data), "--dest", str(small)]
    outdir.mkdir(parents=True, exist_ok=True)
    if subprocess.run([*shrink, "--resolution", side], stdout=subprocess.DEVNULL).returncode:
        raise InputError(f"{data}: cannot be made into images to train on")

    tick = BATCH * steps / TICKS / 1000
    options = dict(outdir=outdir.absolute(), data=small.absolute(), cfg="tiny", batch=BATCH, tick=tick, snap=SNAP)
    options["kimg"] = tick * (TICKS + 1)  # a tick more than is looked at, so that it still runs then
    options |= dict(device="cpu", workers=1, aug="ada", target=-1, metrics="none")  # the target is always missed: p goes to 1
    options |= {"save-every": 0.5}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    progress, samples = Progress("soak", steps, "steps"), []
    for sample in soak(arguments, outdir, TICKS):
        samples.append(sample)
        progress.update(sample["step"])
    progress.close()
    if len(samples) < TICKS // 2:
        raise InputError(f"found {len(samples)} ticks, wanted {TICKS}: the steps are too fast to be counted; try more --steps")
    sys.exit(not report(samples))


def report(samples: list[dict[str, float]]) -> bool:
    """Print samples, and what grew from the second tenth to the last; whether nothing did."""
    names = list(samples[0])
    in_mb = ("memory", "disk", "kept")
    shown = [samples[round(i * (len(samples) - 1) / 10)] for i in range(11)]
    rows = [[f"{sample[name]:.2f}" if name in in_mb else f"{sample[name]:.0f}" for name in names] for sample in shown]
    print(markdown([name + " (MB)" * (name in in_mb) for name in names], rows))
    part, flat = max(len(samples) // 10, 1), True
    for name, most in MAX_GROWTH.items():
        early, late = (statistics.median(s[name] for s in some) for some in (samples[part : 2 * part], samples[-part:]))
        steps = samples[-1]["step"] - samples[part]["step"]
        flat &= late <= early * (1 + most)
        print(f"{name}: {early:.2f} early, {late:.2f} at the end; {1000 * (late - early) / steps:+.4f} in 1000 steps")
    print("flat" if flat else "it grew")
    return flat


if __name__ == "__main__":
    run(main)
