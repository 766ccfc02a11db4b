"""A process that times one side of a comparison: `scripts.benchmarks.turns` starts it by its path, and talks to it in lines.

A checkout of another project, or of another commit, has packages of the same names as this one: they cannot be in one process.
Asked with JSON {"checkout", "side", "options", "keep_memory"} on the first line, then with a job's name on each line, it does
that job once and answers how long it took. In between it waits in a blocking read, and takes nothing of the machine. Everything
that the side itself prints goes to stderr.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HERE = Path(__file__).resolve()
sys.path = [str(HERE.parents[2]), *(path for path in sys.path if path != str(HERE.parent))]
CLASHING = ("training", "networks", "torch_utils", "metrics", "dnnlib", "legacy")


def prepare(checkout: str, side: str, options: dict, keep_memory: bool) -> tuple[dict, dict, "torch.device"]:
    """-> jobs by name, what to tell about them, and where they run. From here on, packages are the checkout's."""
    if keep_memory:
        from torch_utils.platform import keep_freed_memory

        keep_freed_memory()
    import torch

    from scripts.benchmarks import sides

    for name in [name for name in sys.modules if name.split(".")[0] in CLASHING]:
        del sys.modules[name]
    sys.path[0] = checkout
    device = torch.device(options.pop("device"))
    torch.backends.cudnn.benchmark = True
    jobs, told = sides.SIDES[side](device=device, **options)
    for name in CLASHING:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and not Path(file).resolve().is_relative_to(Path(checkout).resolve()):
            raise ImportError(f"has no package {name!r} of its own")
    return jobs, told, device


def serve(requests, answers) -> None:
    def answer(value) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        jobs, told, device = prepare(**json.loads(requests.readline()))
    except Exception as error:
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        answer({"error": f"{type(error).__name__}: {message}"})
        raise
    from scripts.benchmarks.timing import timed

    answer({"jobs": list(jobs), **told})
    for line in requests:
        answer(timed(jobs[line.rstrip("\n")], device))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)
