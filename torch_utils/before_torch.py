"""What a command sets before PyTorch is loaded: how long idle threads stay awake, and that Ctrl-C ends it without a traceback.

Between two pieces of work libgomp's threads spin, by default for some 15 ms. Where another program wants the same cores, they
may hold the very core that the thread they wait for needs, and a training step takes up to a hundred times as long. After 2,000
turns, about 0.1 ms, they sleep: a training alone is as fast, and two side by side each take about five times as long
(docs/performance.md).
"""

import os
import platform
import signal
import sys
from pathlib import Path

SPINS = "2000"
COMMANDS = ("train.py", "train_style.py", "generate.py", "stylize.py", "calc_metrics.py", "scripts/viewer/__main__.py")

_root = Path(__file__).absolute().parents[1]
_main = getattr(sys.modules.get("__main__"), "__file__", None)
if _main and Path(_main).absolute() in [_root / name for name in COMMANDS]:  # whoever else imports us has a process of his own
    # Elsewhere it is another library, or (ARM) a turn is so short that threads would fall asleep between any two operations.
    if sys.platform == "linux" and platform.machine() == "x86_64" and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)

    # Imports take seconds. `torch_utils.cli.run` sets Python's own handler again.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
