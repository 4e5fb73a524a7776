"""Two processes give one process's numbers, also when one of them has no rows of a side, or none at all."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from lfiw.metrics import FrechetDistance, InceptionScore, KernelDistance, PrecisionRecall
from lfiw.metrics.paper import PaperFrechetDistance, PaperInceptionScore, PaperKernelDistance

D = 5
# (real rows, generated rows) of each of the two processes; None: its metrics are never updated.
SPLITS: dict[str, tuple[tuple[int, int] | None, tuple[int, int] | None]] = {
    "uneven": ((31, 7), (9, 33)),
    "second process empty": ((40, 40), (0, 0)),
    "first process never updated": (None, (40, 40)),
    "second process never updated": ((40, 40), None),
    "a side a process": ((40, 0), (0, 40)),
}


def data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, generated = torch.randn(2, 40, D, generator=generator) + torch.tensor([0.0, 1.0])[:, None, None]
    return {
        "real": real,
        "generated": generated,
        "weights": torch.rand(40, 2, generator=generator, dtype=torch.float64),
        "real_weights": torch.rand(40, 2, generator=generator, dtype=torch.float64),
        "probabilities": torch.randn(40, D, generator=generator, dtype=torch.float64).softmax(dim=1),
    }


def new_metrics() -> dict[str, Any]:
    return {
        "fid": FrechetDistance(D, num_weightings=2),
        "fid, far": FrechetDistance(D, num_weightings=2),
        "fid, real weights": FrechetDistance(D, num_weightings=2),
        "fid, paper": PaperFrechetDistance(D, num_weightings=2),
        "kid": KernelDistance(D, num_weightings=2),
        "kid, real weights": KernelDistance(D, num_weightings=2),
        "kid, paper": PaperKernelDistance(D, num_weightings=2),
        "precision": PrecisionRecall(D, num_weightings=2),
        "precision, real weights": PrecisionRecall(D, num_weightings=2),
        "is": InceptionScore(D, num_weightings=2),
        "is, paper": PaperInceptionScore(D, num_weightings=2),
    }


def feed(metrics: dict[str, Any], real_rows: slice, generated_rows: slice) -> None:
    table = data()
    weights = table["weights"][generated_rows]
    for name, metric in metrics.items():
        if name.startswith("is"):
            metric.update(table["probabilities"][generated_rows], weights=weights)
            continue
        # far from zero each process has a centre of its own
        moved = (lambda x: x.double() + 1e6) if name.endswith("far") else (lambda x: x)
        metric.update(moved(table["generated"][generated_rows]), real=False, weights=weights)
        real = moved(table["real"][real_rows])
        # Without rows there is nothing that tells this process of a weighting's own real weights.
        own = name.endswith("real weights") and len(real) > 0
        metric.update(real, real=True, weights=table["real_weights"][real_rows] if own else None)


def values_of(metric: Any) -> Tensor:
    """(k,), or a row for each score of a metric that has several."""
    found = metric.compute()
    return torch.stack(list(found.values())) if isinstance(found, dict) else found


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for split, parts in SPLITS.items():
        metrics, part = new_metrics(), parts[rank]
        if part is not None:
            first = parts[0] or (0, 0)
            starts = (0, 0) if rank == 0 else first
            feed(metrics, *(slice(start, start + count) for start, count in zip(starts, part, strict=True)))
        for name, metric in metrics.items():
            results[split, name] = values_of(metric)
            if name == "fid" and part is not None:
                metric.update(data()["real"][:1], real=True)  # still this process's own rows after a compute
                assert metric.real_uniform_rows == part[0] + 1
    torch.save(results, f"{folder}/results{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, str], Tensor]]:
    folder: Path = tmp_path_factory.mktemp("two_processes")
    mp.spawn(process, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"results{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("split", SPLITS)
def test_two_processes_equal_one(results: list[dict[tuple[str, str], Tensor]], split: str) -> None:
    metrics = new_metrics()
    feed(metrics, slice(None), slice(None))
    for name, metric in metrics.items():
        expected = values_of(metric)
        assert expected.shape[-1] == 2
        for of_process in results:
            # Sums in another order: rounding only.
            torch.testing.assert_close(
                of_process[split, name], expected, rtol=1e-10, atol=1e-12, msg=f"{split}: {name}"
            )
