"""Files for schedulers in docs/clusters/, none of which is here: what they would start is held against train.py."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

import train
from tests.conftest import ROOT

CLUSTERS = ROOT / "docs" / "clusters"
LAUNCHER = ["python", "-m", "torch.distributed.run"]
HOSTS = "alpha\nbeta\n"


def of_train(words: list[str]):
    """The options of train.py behind `train.py`, as click reads them."""
    return train.main.make_context("train.py", words[words.index("train.py") + 1 :]).params


def of_launcher(words: list[str]):
    """The options of torch.distributed.run before `train.py`, as it reads them itself."""
    from torch.distributed.run import get_args_parser

    start = words.index("torch.distributed.run") + 1
    return get_args_parser().parse_args(words[start:])


def executable(path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path):
    """slurm(*words) -> finished `bash slurm.sh WORDS`, where srun runs what it is given by this Python, on one machine."""
    (tmp_path / "bin").mkdir()
    executable(tmp_path / "bin" / "activate", "")
    executable(tmp_path / "bin" / "scontrol", f"#!/bin/sh\nprintf '{HOSTS}'\n")
    cores = '[ -z "$SRUN_CPUS" ] || echo "$SRUN_CPUS_PER_TASK" > "$SRUN_CPUS"'
    started = f'[ "$1" = python ] && shift\nexec ${{SRUN:-{sys.executable}}} "$@"'
    executable(tmp_path / "bin" / "srun", f"#!/bin/sh\n{cores}\nshift\n{started}\n")

    def run(*words, **environment):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        known = dict(PATH=path, VENV=str(tmp_path), SLURM_JOB_NODELIST="n[1-2]", SLURM_JOB_NUM_NODES="2", SLURM_JOB_ID="7")
        words = ["bash", str(CLUSTERS / "slurm.sh"), *map(str, words)]
        env = os.environ | known | {"SLURM_GPUS_ON_NODE": "8"} | environment
        return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)

    return run


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_slurm(slurm, tmp_path):
    cores = {"SLURM_CPUS_PER_TASK": "32", "SRUN_CPUS": str(tmp_path / "cores")}
    finished = slurm("--outdir", "runs", "--data", "a b.zip", SRUN="printf %s\\n", **cores)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "cores").read_text() == "32\n", "srun does not look at what sbatch was given"
    words = finished.stdout.split("\n")[:-1]
    launched = of_launcher(words)
    assert (launched.nnodes, launched.nproc_per_node, launched.rdzv_id) == ("2", "8", "7")
    assert launched.rdzv_endpoint == f"{HOSTS.split()[0]}:29500", "all machines meet at the first"
    options = of_train(words)
    assert str(options["outdir"]) == "runs" and str(options["data"]).endswith("a b.zip")
    assert str(options["resume"]) == "auto", "a job that is queued anew goes on"


def test_directives_of_slurm():
    """Of sbatch, before the first command; one launcher on each machine, and SIGTERM before the time is up."""
    text = (CLUSTERS / "slurm.sh").read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.M))
    assert text.index("set -euo") > text.rindex("#SBATCH")
    assert directives["ntasks-per-node"] == "1" and directives["signal"].startswith("TERM@") and "requeue" in directives


def test_kubernetes():
    job = yaml.safe_load((CLUSTERS / "pytorchjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert set(replicas) == {"Master", "Worker"}
    for replica in replicas.values():
        (container,) = replica["template"]["spec"]["containers"]
        assert container["command"][: len(LAUNCHER)] == LAUNCHER
        assert str(container["resources"]["limits"]["nvidia.com/gpu"]) == job["spec"]["nprocPerNode"]
        options = of_train(container["command"] + container["args"])
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert {volume["name"] for volume in replica["template"]["spec"]["volumes"]} == set(mounts)
        assert str(options["outdir"]).startswith(mounts["data"]) and str(options["resume"]) == "auto"
        assert replica["restartPolicy"] == "OnFailure"


def test_skypilot():
    task = yaml.safe_load((CLUSTERS / "skypilot.yaml").read_text())
    run = task["run"].replace('$(echo "$SKYPILOT_NODE_IPS" | head -n 1)', "10.0.0.1").replace("\\\n", " ")
    for name, value in {**task["envs"], "SKYPILOT_NUM_NODES": 2, "SKYPILOT_NODE_RANK": 1}.items():
        run = run.replace(f"${name}", str(value))
    words = shlex.split(run.replace("$SKYPILOT_NUM_GPUS_PER_NODE", "8"))
    assert "$" not in " ".join(words)
    launched = of_launcher(words)
    assert (launched.nnodes, launched.node_rank, launched.nproc_per_node) == ("2", 1, "8")
    options = of_train(words)
    modes = {folder: bucket["mode"] for folder, bucket in task["file_mounts"].items()}
    assert modes[str(options["data"].rpartition("/")[0])] == "MOUNT"
    assert modes[str(options["outdir"])] == "MOUNT_CACHED", "the other mode takes whole files only, and a run adds lines"
    assert "constraints.txt" in task["setup"]
