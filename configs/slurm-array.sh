#!/bin/sh
# A dataset in eight shards, all into one output folder. Use: sbatch slurm-array.sh
# The same command again does only what is missing. To send in only the shards that `smoothcam summarize OUT` names,
# say of how many: SHARDS=8 sbatch --array=3,5-7 slurm-array.sh
#SBATCH --job-name=smoothcam
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=smoothcam-%A_%a.log
PHOTOS=${PHOTOS:-/srv/photos}
OUT=${OUT:-/srv/audit/photos}
CONFIG=${CONFIG:-/srv/audit/audit.yaml}

# `exec`: two minutes before the time is up SIGTERM comes to this process alone, and smoothcam is to have it.
exec smoothcam explain "$PHOTOS" --config "$CONFIG" -o "$OUT" --lock-wait 600 \
    --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}"
