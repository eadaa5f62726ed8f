#!/usr/bin/env python3
"""Judges whether a card drifts away from the CPU while a text of 4096 tokens is taken in one by one.

  drift.py SET FOREBAY [--device cuda]      needs numpy and safetensors; exit 0 when nothing drifts

Both are fed the same tokens, so that one that is chosen otherwise ends nothing. A position may be far off where experts, or what
follows from them, are nearly equal; a drift moves all of them. So what counts is the median of each part of the text, and that
few positions are far off.
"""
import argparse, pathlib, subprocess, sys, tempfile
import numpy as np
from safetensors.numpy import load_file

MODELS = [
    "models/qwen3/gguf/qwen3.Q4_K_M.gguf",
    "models/gemma3/gguf/gemma3.Q5_1.gguf",
    "models/qwen35/gguf/qwen35.Q4_K_M.gguf",
    "models/gptoss/gguf/gptoss.MXFP4_MOE.gguf",
]
TOKENS, VOCABULARY, PART = 4096, 512, 512
# The least median of a part, how much farther off the last part may be than the first, and how many positions may be below FAR.
MEDIAN, GROWTH, FAR, MOST_FAR = 0.998, 2.0, 0.98, 0.05


def ids():
    state = 1
    for _ in range(TOKENS):
        state = (state * 1664525 + 1013904223) % 2**32
        yield (state >> 8) % (VOCABULARY - 16)


def judge(of, to):
    """What is wrong, or nothing, and the medians."""
    of, to = of.astype("f8"), to.astype("f8")
    if of.shape != to.shape or not np.isfinite(of).all():
        return f"shape {of.shape}, wanted {to.shape}, or not finite", ""
    cos = (of * to).sum(1) / np.linalg.norm(of, axis=1) / np.linalg.norm(to, axis=1)
    off = np.linalg.norm(of - to, axis=1) / np.linalg.norm(to, axis=1)
    parts = range(0, len(cos), PART)
    medians, offs = ([np.median(x[i : i + PART]) for i in parts] for x in (cos, off))
    far = np.mean(cos < FAR)
    told = f"medians {min(medians):.6f} and up, off by {offs[0]:.5f} at first and {offs[-1]:.5f} at last, {far:.2%} far off"
    wrong = min(medians) < MEDIAN or offs[-1] > GROWTH * offs[0] + 1e-4 or far > MOST_FAR
    return ("drifts" if wrong else None), told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("set")
    parser.add_argument("forebay")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    text, failed = ",".join(map(str, ids())), 0
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            logits = []
            for device in ("cpu", args.device):
                out = pathlib.Path(folder) / "logits.safetensors"
                flags = ["--tokens", text, "--one-by-one", "--ctx", str(TOKENS), "--device", device]
                run = [args.forebay, "logits", str(pathlib.Path(args.set) / model), "--out", str(out), *flags]
                done = subprocess.run(run, capture_output=True, text=True, timeout=280)
                if done.returncode:
                    break
                logits.append(load_file(out)["logits"])
            if done.returncode:
                wrong, told = "failed", done.stderr.strip()[-300:]
            else:
                wrong, told = judge(logits[1], logits[0])
            failed += wrong is not None
            print(f"{model}: {wrong or 'holds'}, {told}", flush=True)
    print(f"{len(MODELS) - failed} of {len(MODELS)} hold over {TOKENS} tokens")
    sys.exit(failed > 0)


main()
