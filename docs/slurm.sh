#!/bin/bash
#SBATCH --job-name=lfiw
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00

srun python train.py "$@" trainer.devices=4 trainer.num_nodes=2 trainer.strategy=ddp
