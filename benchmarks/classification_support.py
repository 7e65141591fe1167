"""Build the starter support set from annotated stacks, and measure it by leaving one patient out.

The command is ``python benchmarks/classification_support.py --cases CASES --out FOLDER``; ``--read FOLDER`` measures a
set that is already written.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path


def main() -> None:
    """Collect, write where --out is given, and print the figures of the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cases", type=Path, help="folder of PATIENT.npz files with flair and mask")
    source.add_argument("--read", type=Path, help="folder of a written set")
    parser.add_argument("--out", type=Path, help="folder to write the set to; nothing is written without it")
    parser.add_argument("--seed", type=int, default=0, help="places of the regions without a tumour")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch

    from lab.fewshot.collection import collect, leave_one_patient_out, write_starter
    from workers.fewshot.dinov2 import open_dinov2
    from workers.fewshot.lesion_views import PromptedEncoder
    from workers.fewshot.starter import PROMPT, read_starter

    if arguments.read:
        samples = read_starter(arguments.read)
    else:
        encoder = PromptedEncoder(open_dinov2(torch.device("cpu"), torch.float32), PROMPT)
        samples = collect(arguments.cases, encoder, seed=arguments.seed)
    counts = Counter(sample.label for sample in samples)
    print("patients:", len({sample.patient for sample in samples}), "examples:", dict(counts))
    agreement = leave_one_patient_out(samples)
    for label, total in agreement.total.items():
        print(f"leave one patient out, {label}: {agreement.right[label]} of {total}")
    print(f"accuracy {agreement.accuracy:.3f}, mean probability of the chosen label {agreement.mean_probability:.3f}")
    if arguments.out:
        print("manifest", write_starter(samples, arguments.out).sha256)


if __name__ == "__main__":
    main()
