"""How long idle threads stay awake. To be imported before PyTorch, whose OpenMP library reads the environment as it is loaded.

Between two pieces of work libgomp's threads spin, by default for some 15 ms. Where another program wants the same cores, they
may hold the very core that the thread they wait for needs, and a training step takes up to a hundred times as long. After 2,000
turns, about 0.1 ms, they sleep: a training alone is as fast, and two side by side each take about five times as long
(docs/performance.md).
"""

import os
import platform
import sys

SPINS = "2000"

# Elsewhere it is another library, or (ARM) a turn is so short that threads would fall asleep between any two operations.
if sys.platform == "linux" and platform.machine() == "x86_64" and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
