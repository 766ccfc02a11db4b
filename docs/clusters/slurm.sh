#!/bin/bash
# sbatch docs/clusters/slurm.sh --outdir /shared/runs --data /shared/photos256.zip --cfg ffhq256
#
# Submitted from the checkout, with its .venv, on storage that all machines see. What stands behind the file's name is train.py's.
#SBATCH --job-name=adaconv
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --output=adaconv-%j.log
#SBATCH --open-mode=append
# Two minutes before the time is up every process gets SIGTERM: the run saves its state and ends. `scontrol requeue JOB`, or the same
# command once more, goes on from there; so does Slurm where a machine fails.
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

source "${VENV:-.venv}/bin/activate"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"  # since Slurm 22.05 srun does not take over what sbatch was given
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun --kill-on-bad-exit=1 python -m torch.distributed.run \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-backend c10d --rdzv-endpoint "$first:${PORT:-29500}" --rdzv-id "$SLURM_JOB_ID" \
    train.py --resume auto "$@"
