#!/bin/sh
# A dataset in eight shards, all into one output folder. Use: sbatch slurm-array.sh
# The same command again does only what is missing. To run only the shards that `smoothcam summarize OUT` names,
# also give the number of all shards: SHARDS=8 sbatch --array=3,5-7 slurm-array.sh
#SBATCH --job-name=smoothcam
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=smoothcam-%A_%a.log
IMAGES=${IMAGES:-/srv/images}
OUT=${OUT:-/srv/audit/images}
CONFIG=${CONFIG:-/srv/audit/audit.yaml}

# Two minutes before the time limit, Slurm sends SIGTERM to this process only. With `exec` this process is smoothcam.
exec smoothcam explain "$IMAGES" --config "$CONFIG" -o "$OUT" --lock-wait 600 \
    --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}"
