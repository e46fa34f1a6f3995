"""Which images each step of a training takes."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def batches(indices: torch.Tensor, batch_size: int, seed: int, skip: int = 0) -> Iterator[torch.Tensor]:
    """Yield minibatches of indices, (batch_size,), without end; the first `skip` of them are left out.

    As in the report: consecutive slices of a permutation; when fewer than a batch are left, the rest is dropped and
    the whole set is permuted again. The order is drawn on the CPU, so it is the same on every device.
    """
    generator = torch.Generator().manual_seed(seed ^ 0x6F72646572)  # not the stream that initialises the weights
    while True:
        order = torch.randperm(len(indices), generator=generator).to(indices.device)
        for start in range(0, len(indices) - batch_size + 1, batch_size):
            if skip > 0:
                skip -= 1
            else:
                yield indices.index_select(0, order[start : start + batch_size])
