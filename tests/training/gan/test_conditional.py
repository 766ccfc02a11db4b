"""A conditional run draws the class that was asked for: a classifier that has only seen real images says so."""

import pytest
import torch

from scripts.class_agreement import on_drawn, on_real, report, train_classifier
from torch_utils.checkpoint import load_generator
from torch_utils.run_dir import newest_snapshot
from training.dataset import ImageDataset


@pytest.mark.slow
def test_a_classifier_recognises_what_was_asked_for(run_command, test_data, tmp_path):
    source = test_data / "data" / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"
    data = tmp_path / "fashion32.zip"
    made = run_command("scripts/dataset_tool.py", "--source", source, "--dest", data, "--resolution", "32x32")
    assert made.returncode == 0, made.stderr
    arguments = ["--data", data, "--cfg", "tiny", "--cond", "1", "--kimg", "24", "--metrics", "none"]
    finished = run_command("train.py", "--outdir", tmp_path / "runs", *arguments, timeout=3600)
    assert finished.returncode == 0, finished.stderr

    dataset = ImageDataset(str(data), use_labels=True, keep=True)
    cpu = torch.device("cpu")
    classifier, G = train_classifier(dataset, 2, cpu), load_generator(newest_snapshot(tmp_path / "runs"))
    seen, drawn = on_real(classifier, dataset, cpu), on_drawn(classifier, G, 1000, 1, cpu)
    print(report(dataset.label_names, seen, drawn))
    assert seen.diagonal().sum() > 0.85 * seen.sum()
    assert drawn.diagonal().sum() >= 0.7 * drawn.sum()
