"""Rows that a metric keeps of many batches."""

import torch

from lfiw.metrics.weighted_metric import MERGED_BYTES, append_block


def test_small_blocks_become_few_in_the_order_they_came() -> None:
    blocks: list[torch.Tensor] = []
    rows = torch.arange(3000.0).view(1000, 3)
    sizes = torch.randint(0, 4, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    start = 0
    for size in sizes:
        append_block(blocks, rows[start : start + size].clone())
        start += size
    assert torch.equal(torch.cat(blocks), rows[:start])
    assert len(blocks) <= 12  # a binary counter's digits
    append_block(blocks, torch.ones(1, 3, dtype=torch.float64))
    assert torch.cat(blocks)[-1].tolist() == [1, 1, 1]


def test_large_blocks_are_not_copied() -> None:
    blocks: list[torch.Tensor] = []
    large = [torch.zeros(MERGED_BYTES // 4, 1) for _ in range(3)]
    for block in large:
        append_block(blocks, block)
    assert [b.data_ptr() for b in blocks] == [b.data_ptr() for b in large]
