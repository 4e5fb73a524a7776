"""Two machines, which are one here: torchrun on each, and the SLURM script with a stand-in for SLURM."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from integration.launch import QUICK, ROOT, environment, launch, start
from processes import free_port

from lfiw.untrusted import read_checkpoint

MINUTE = 60
NODES = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.num_nodes=2", "trainer.strategy=ddp"]
OPTIONS = ["trainer.max_epochs=2", "data.batch_size=512", *QUICK]

SRUN = """#!/bin/bash
# starts a task on each of two nodes, passes signals on
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_NNODES=2 SLURM_NTASKS_PER_NODE=1 SLURM_LOCALID=0 SLURM_NODELIST=127.0.0.1
for node in 0 1; do SLURM_NODEID=$node SLURM_PROCID=$node "$@" & pids="$pids $!"; done
echo $$ > srun.pid
trap 'kill -USR1 $pids' USR1
code=0
for pid in $pids; do
    wait $pid; one=$?
    while [ $one -gt 128 ] && kill -0 $pid 2>/dev/null; do wait $pid; one=$?; done
    [ $one -gt $code ] && code=$one
done
exit $code
"""


def record(run: Path) -> list[dict[str, object]]:
    return json.loads((run / "evaluation.json").read_text())["weightings"]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["val/log_loss"] for line in lines if "val/log_loss" in line]


@pytest.mark.slow
def test_torchrun_on_two_nodes(tmp_path, digits):
    """What one process learns, up to rounding."""
    port = free_port()
    cache = f"data.folder={digits.cwd / 'cache'}"
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--local-addr", "127.0.0.1"]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "test"]
    agents = [
        start(
            "train.py",
            *OPTIONS,
            *NODES,
            cache,
            "run_dir=two",
            cwd=tmp_path,
            launcher=(*launcher, "--node-rank", str(node)),
        )
        for node in range(2)
    ]
    try:
        ends = [(*agent.communicate(timeout=4 * MINUTE), agent.returncode) for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
    assert [code for *_, code in ends] == [0, 0], ends
    assert sum(out.count("run folder:") for out, *_ in ends) == 1
    code, _, err = launch("train.py", *OPTIONS, cache, "run_dir=one", cwd=tmp_path)
    assert code == 0, err
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    ours, expected = record(tmp_path / "two"), record(tmp_path / "one")
    assert [weighting["name"] for weighting in ours] == [weighting["name"] for weighting in expected]
    for name, value in expected[0]["metrics"].items():  # uniform: no network has a part in them
        assert ours[0]["metrics"][name]["value"] == pytest.approx(value["value"], rel=1e-10, abs=1e-13)


@pytest.mark.slow
def test_the_slurm_script(tmp_path, digits):
    """Told of its end, the job keeps a checkpoint and asks to be queued again; the next time it goes on, and ends."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, content in (("srun", SRUN), ("scontrol", '#!/bin/bash\necho "$@" >> scontrol.log\n')):
        (tools / name).write_text(content)
        (tools / name).chmod(0o755)
    (tmp_path / "train.py").symlink_to(ROOT / "train.py")
    variables = environment(
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
        SLURM_JOB_ID="4242",
        SLURM_JOB_NAME="lfiw",
    )
    cache = f"data.folder={digits.cwd / 'cache'}"
    command = ["bash", str(ROOT / "docs/slurm.sh"), *OPTIONS, *NODES, cache, "trainer.patience=0"]
    run = tmp_path / "runs/slurm/4242"
    job = subprocess.Popen([*command, "trainer.max_epochs=150"], cwd=tmp_path, env=variables)
    deadline = time.monotonic() + 4 * MINUTE
    while not (run / "checkpoints/last.ckpt").is_file():
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int((tmp_path / "srun.pid").read_text()), signal.SIGUSR1)
    assert job.wait(MINUTE) == 0
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"
    assert (run / "stopped").read_text() == "SIGUSR1\n"
    kept = read_checkpoint(run / "checkpoints/last.ckpt")
    assert kept["epoch"] < 149
    subprocess.run([*command], cwd=tmp_path, env=variables, check=True, timeout=5 * MINUTE)
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4242\n"
    assert len(losses(run)) == 150
    assert record(run)
