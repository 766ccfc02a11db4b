import time

import pytest

from torch_utils.stats import read_jsonl
from training.image_stream import ImageStream


def test_waiting_and_replaced_images_are_counted_and_nothing_else_changes():
    closed = []

    def numbers(count: int):
        try:
            for number in range(count):
                time.sleep(0.02)
                yield (number, -number) if number else (number, -number, 3)
        finally:
            closed.append(count)

    source = ImageStream(numbers(3))
    assert source.waited == source.replaced == 0
    assert next(source) == (0, 0) and source.replaced == 3
    time.sleep(0.1)  # of the caller
    assert list(source) == [(1, -1), (2, -2)] and 0.06 <= source.waited < 0.1 and closed == [3] and source.replaced == 3
    source = ImageStream(numbers(5))
    assert next(source) == (0, 0)
    source.close()
    source.close()
    assert closed == [3, 5]
    with pytest.raises(StopIteration):
        next(source)


def test_a_run_says_how_long_it_waits_for_images(image_folder, tmp_path, run_command):
    options = "--cfg tiny --kimg 0.016 --batch 4 --tick 0.008 --metrics none --workers 0".split()
    done = run_command("train.py", "--data", image_folder(8, 16), "--outdir", tmp_path / "runs", *options)
    assert done.returncode == 0, done.stderr
    (stats,) = (tmp_path / "runs").glob("*/stats.jsonl")
    shares = [record["data_share"] for record in read_jsonl(stats)]
    assert len(shares) == 2 and all(0 <= share < 1 for share in shares)
    lines = [line for line in stats.with_name("log.txt").read_text().splitlines() if line.startswith("kimg")]
    assert len(lines) == 2 and all(f"data {share:<5.0%}" in line for line, share in zip(lines, shares))
