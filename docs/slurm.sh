#!/bin/bash
#SBATCH --job-name=lfiw
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue                # after preemption the job is queued again, under the same number
#SBATCH --signal=USR1@120        # two minutes before the time is up, to every process of srun
#SBATCH --open-mode=append

# sbatch docs/slurm.sh experiment=cifar10_gan …: the run continues, job after job, until it is done
run=runs/slurm/$SLURM_JOB_ID
if [ -e "$run/config.yaml" ]; then
    set -- "resume=$run"
else
    set -- "run_dir=$run" trainer.devices=4 trainer.num_nodes=2 trainer.strategy=ddp "$@"
fi
trap : TERM USR1                 # they are for the processes; this script continues when srun has ended
srun --kill-on-bad-exit=1 python train.py "$@" || exit
if [ -e "$run/stopped" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
