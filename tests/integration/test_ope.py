"""Off-policy evaluation as a user runs it, in a real environment, small."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.launch import launch, refused

from lfiw.data import CacheWriter, SampleCache
from lfiw.tasks.ope.policy import Policy

FAST = ["experiment=ope_fast", "logger=none"]
POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], Any]]:
    cwd = tmp_path_factory.mktemp("study")
    arguments = ["ope", "env=Swimmer-v5", "experiment=ope_fast", "--seeds", "2", "--out", cwd / "ope.json"]
    code, out, err = launch("tools/study.py", *arguments, cwd=cwd)
    assert code == 0, out + err
    rows = json.loads((cwd / "ope.json").read_text())["rows"]
    return cwd, {(r["name"], r["metric"]): r for r in rows}


def test_the_study_has_a_row_for_every_estimate(study: tuple[Path, dict[tuple[str, str], Any]]) -> None:
    cwd, rows = study
    for problem in ("Swimmer-v5", "Swimmer-v5, noise 0.1"):
        model_based = ("uncorrected", "resampled", "averaged", "averaged, anchored", "mean of the model", "trajectory")
        for name in ("auto", *model_based, "doubly robust", "fitted Q"):
            error = rows[f"{problem}/{name}", "abs_error"]
            ratio = rows[f"{problem}/{name}", "abs_error_ratio"]
            plain = rows[f"{problem}/uncorrected", "abs_error"]
            assert error["n"] == ratio["n"] == 2
            assert ratio["mean"] == pytest.approx(error["mean"] / plain["mean"])
            assert ratio["low"] <= ratio["mean"] <= ratio["high"]
        assert rows[f"{problem}/H=10", "ess"]["mean"] >= 1
        shares = [rows[f"{problem}/auto", f"{way}_share"]["mean"] for way in ("averaged", "mean of the model")]
        assert sum(shares) == pytest.approx(1)
    assert (cwd / "ope-errors_by_horizon.png").exists()
    assert not (cwd / "runs/studies/ope").exists()
    assert not (cwd / "MUJOCO_LOG.TXT").exists()


def test_errors_and_intervals_at_graded_distances(here: Path) -> None:
    arguments = ["ope_distances", "env=Swimmer-v5", "experiment=ope_fast", "--seeds", "2", "--out", here / "d.json"]
    code, out, err = launch("tools/study.py", *arguments, cwd=here)
    assert code == 0, out + err
    rows = {(r["name"], r["metric"]): r for r in json.loads((here / "d.json").read_text())["rows"]}
    for name in ("uncorrected", "importance sampling", "do nothing", "simulation", "auto"):
        row = rows[f"Swimmer-v5, λ=0.02/{name}", "abs_error_ratio"]
        assert row["n"] == 2
        assert 0 <= rows[f"Swimmer-v5, λ=0.02/{name}", "interval_coverage"]["mean"] <= 1
    near, far = (rows[f"Swimmer-v5, λ={way}/reach", "distance"]["mean"] for way in ("0.02", "1"))
    assert far == pytest.approx(50 * near)
    sources = ("simulation", "importance sampling, per-decision", "do nothing")
    weights = [rows["Swimmer-v5, λ=1/auto", f"weight of {source}"]["mean"] for source in sources]
    assert sum(weights) == pytest.approx(1)
    assert (here / "ope_distances-errors.png").exists()


def test_policies_along_a_training(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(POLICIES.parent / "tools"))
    from studies import ope_training
    from studies.kept import Kept

    monkeypatch.setattr(ope_training, "STAGES", {"Swimmer-v5": ((2048, 4096), 0.99)})
    overrides = ["experiment=ope_fast"]
    rows, _ = ope_training.run(2, overrides, Kept(here / "kept", overrides))
    found = {(r["name"], r["metric"]): r for r in rows}
    for problem in ("Swimmer-v5", "Swimmer-v5, noise 0.1"):
        assert found[f"{problem}, 4,096 steps/reach", "distance"]["mean"] >= 1
        assert found[f"{problem}, 4,096 steps/auto", "abs_error"]["n"] == 2
    kept = {file.name for file in here.glob("policies_Swimmer-v5/*")}
    assert kept == {"Swimmer-v5-2048.safetensors", "Swimmer-v5-4096.safetensors"}


def test_the_start_of_the_path_is_the_behaviour_policy(here: Path) -> None:
    code, _, err = launch("train.py", *FAST, "data.way=0", "run_dir=run", cwd=here)
    assert code == 0, err
    record = json.loads((here / "run/ope.json").read_text())
    assert record["reach"]["verdict"] == "within reach"
    # weights of 1 and no simulated gain: every source is the known return
    assert record["estimates"]["auto"]["value"] == pytest.approx(record["behaviour_return"], rel=1e-5)
    assert record["auto"]["verdict"].startswith("these data cannot tell")


def test_a_policy_is_evaluated_on_a_users_own_episodes(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    policy = POLICIES / "Swimmer-v5-behaviour.safetensors"
    arguments = ["Swimmer-v5", policy, "--episodes", "20", "--horizon", "10", "--out", "mine"]
    code, out, err = launch("tools/cache_rollouts.py", *arguments, cwd=here)
    assert code == 0, err
    assert "200 steps of 20 episodes" in out
    cache = SampleCache("mine")
    assert set(cache.columns) >= {"observation", "action", "reward", "next_observation", "terminated", "log_prob"}

    code, out, err = launch("train.py", *FAST, "data.rollouts=mine", "run_dir=run", cwd=here)
    assert code == 0, err
    record = json.loads((here / "run/ope.json").read_text())
    assert record["num_episodes"] == 20
    assert record["behaviour_return"] == pytest.approx(cache["reward"].double().sum().item() / 20)
    assert "diverged: 0 of 400" in out
    code, again, err = launch("evaluate.py", "run=run", cwd=here)
    assert code == 0, err
    assert "auto: " in again

    assert record["reach"]["verdict"] == "out of reach"
    assert "reach: the evaluation policy is out of reach; " in out
    assert record["estimates"]["do nothing"]["value"] == pytest.approx(record["behaviour_return"])

    # drawn by another policy than the one that is named
    told = refused(capfd, "train.py", *FAST, "data.rollouts=mine", "data.behaviour_noise=1.5")
    assert "column log_prob differs from the log-densities of data.behaviour" in told
    told = refused(capfd, "train.py", *FAST, "data.rollouts=mine", "data.horizon=5")
    assert "unequal length" in told
    assert not list(here.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["data.env=Swimer-v5"], "env=Swimer-v5"),
        (["data.env=HalfCheetah-v5", f"data.behaviour={POLICIES}/Swimmer-v5-behaviour.safetensors"], "has 17 and 6"),
        (["data.evaluation=nothing.safetensors"], "nothing.safetensors does not exist"),
        (["data.episodes=2"], "data.episodes=2"),
        (["data.train=1"], "data.train=1"),
        (["task.baselines=[is]"], "task.baselines[0]=is: expected one of"),
        (["data.noise=-1"], "noise=-1"),
        (["ensemble=2"], "takes ensemble=1"),
        (["experiment=toy", "task=ope"], "needs data=policies"),
        (["data.env=Ant-v5"], "its terminal states are not known"),
    ],
)
def test_mistakes(here: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    assert named in refused(capfd, "train.py", *FAST, *arguments)
    assert not list(here.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"action": lambda x: torch.cat([x, x[:, :1]], 1)}, "column action has 3 values per step, Swimmer-v5 has 2"),
        ({name: lambda x: x[:, :5] for name in ("observation", "next_observation")}, "column observation has 5 values"),
        ({"action": lambda x: 3 * x}, "column action lies in -3 … 3, beyond the bounds of data.behaviour"),
    ],
)
def test_logs_that_do_not_fit_are_refused_before_training(
    here: Path, capfd: pytest.CaptureFixture[str], change: dict[str, Any], named: str
) -> None:
    index, zeros = torch.arange(40), torch.zeros(40, 8)
    columns = {"observation": zeros, "next_observation": zeros, "reward": zeros[:, 0], "terminated": zeros[:, 0]}
    columns |= {"action": (-1.0) ** index[:, None].expand(-1, 2), "step": index % 10, "episode": index // 10}
    with CacheWriter("mine") as writer:
        writer.write({name: change.get(name, lambda x: x)(values) for name, values in columns.items()})
    with torch.random.fork_rng():
        Policy((8, 4, 2), squashed=True).save(here / "squashed.safetensors")
    arguments = ["data.rollouts=mine", "data.behaviour=squashed.safetensors", "task.baselines=[fitted_q]"]
    assert named in refused(capfd, "train.py", *FAST, *arguments)
    assert not list(here.glob("runs/*/*"))


def test_a_policy_of_other_shapes(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with torch.random.fork_rng():
        Policy((3, 4, 2)).save(here / "other.safetensors")
    told = refused(capfd, "tools/cache_rollouts.py", "Swimmer-v5", "other.safetensors", "--out", "mine")
    assert "takes 3 observations and gives 2 actions, Swimmer-v5 has 8 and 2" in told
    assert not (here / "mine").exists()
