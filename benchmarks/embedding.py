"""Measure how many pictures a second the packaged backbone embeds, and how long a head takes on 500 cached vectors.

The command is ``python -m benchmarks.embedding``; ``--threads 2`` for two cores, ``--dtype bfloat16`` where the
processor has it.
"""

from __future__ import annotations

import argparse
import os
import time


def main() -> None:
    """Print one line for the backbone and one for each head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--pictures", type=int, default=64, help="pictures of 256 x 256 to embed")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import numpy as np
    import torch

    from workers.devices import choose_device, choose_dtype
    from workers.fewshot.dinov2 import NAME, open_dinov2

    torch.set_num_threads(arguments.threads)
    device = choose_device("cpu")
    dtype = choose_dtype(device, arguments.dtype)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (256, 256, 3)).astype(np.uint8) for _ in range(arguments.pictures)]
    backbone = open_dinov2(device, dtype)
    backbone.embed(pictures[:16])
    started = time.perf_counter()
    backbone.embed(pictures)
    seconds = time.perf_counter() - started
    print(f"{NAME}, {dtype}, {arguments.threads} threads: {len(pictures) / seconds:.1f} pictures/s")
    measure_heads()


def measure_heads() -> None:
    """Time each head on 500 vectors of the default backbone's length."""
    import numpy as np

    from workers.fewshot.dinov2 import CARD
    from workers.fewshot.heads import HeadName, make_head

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, CARD.dimensions)).astype(np.float32)
    labels = [("a", "b", "c")[place % 3] for place in range(500)]
    groups = [f"p{place // 2}" for place in range(500)]
    for name in HeadName:
        started = time.perf_counter()
        make_head(name).fit(vectors, labels, groups, seed=0).predict_proba(vectors)
        print(f"{name.value}: {time.perf_counter() - started:.2f} s to fit 500 vectors and predict them")


if __name__ == "__main__":
    main()
