"""Commands in processes that have imported PyTorch already: imports are most of what a short command takes."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_IMPORT = ("ONEDNN", "OMP", "PYTHON", "MKL", "TORCH", "CUDA")  # variables that libraries read only when they are loaded
PRELOADED = ["train", "generate", "calc_metrics", "train_style", "stylize", "torch._dynamo"]  # the last one by optimisers


def can_fork(env: dict[str, str]) -> bool:
    """Elsewhere than on Linux, libraries are not safe to fork; some variables need a fresh process."""
    return sys.platform == "linux" and not any(name.startswith(AT_IMPORT) for name in env)


def run_forked(
    script: Path, arguments: list[str], cwd: Path, env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("stdout", "stderr")]
        process = context.Process(target=_run, args=(script, arguments, cwd, env, files))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([script, *arguments], timeout)
        output, errors = (path.read_text(encoding="utf-8") for path in files)
        return subprocess.CompletedProcess([sys.executable, script, *arguments], process.exitcode, output, errors)


def _run(script: Path, arguments: list[str], cwd: Path, env: dict[str, str], files: list[Path]) -> None:
    for number, path in zip((1, 2), files):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = str(script.parent)
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
