"""Benchmarks: `python -m scripts.bench modulation`, and what else `--help` lists.

Every number is a ratio within one run: what is compared takes turns, so that a machine whose speed drifts slows all of it. Each
repetition's ratio is taken by itself, and the median is reported.
"""

import sys
from pathlib import Path

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmarks import demodulation, metrics, modulation, peers, scale, step
from torch_utils.cli import run


@click.group(no_args_is_help=False)
def main():
    """Compare times, in turns within one run."""


for module in (modulation, demodulation, peers, step, scale, metrics):
    main.add_command(module.main, module.__name__.rpartition(".")[2])


if __name__ == "__main__":
    run(main)
