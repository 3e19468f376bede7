"""Teacher-forced exact-match rates: what gauge.json records and `daybreak eval` measures again by generating."""

import random

import torch

import tasks
from network import rope_tables

LONGEST = 8192


@torch.no_grad()
def predictions(network, shape, tokens, device, dtype):
    """The most likely next token at every position, the true tokens before it."""
    cos, sin = (table.to(dtype) for table in rope_tables(shape, len(tokens), device))
    ids = torch.tensor(tokens, device=device).unsqueeze(0)
    with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
        return network(ids, cos, sin).argmax(-1)[0].tolist()


def answer_spans(learned):
    """Half-open ranges of consecutive answer tokens, end tokens included."""
    start = None
    for position, is_answer in enumerate(learned + [0]):
        if is_answer and start is None:
            start = position
        elif not is_answer and start is not None:
            yield start, position
            start = None


def exact_match(network, shape, tokenizer, samples, length, device, dtype):
    """An answer counts when every one of its tokens is the most likely one. Documents are cut at `length` tokens."""
    correct = total = 0
    for sample in samples:
        tokens, learned = (part[:length] for part in sample.encode(tokenizer))
        predicted = predictions(network, shape, tokens, device, dtype)
        for start, end in answer_spans(learned):
            total += 1
            correct += predicted[start - 1 : end - 1] == tokens[start:end]
    return {"exact": round(correct / max(total, 1), 4), "answers": total}


def measure(network, shape, tokenizer, held_out_stories, device, dtype):
    rng = random.Random(99)
    rate = lambda samples, length: exact_match(network, shape, tokenizer, samples, length, device, dtype)
    report = {}
    network.eval()
    for length in (1024, 2048, 4096, 8192):
        report[f"lines_{length}"] = rate([tasks.lines(rng, length, held_out_stories) for _ in range(24)], length)
    for length in (2048, 8192):
        report[f"needle_{length}"] = rate([tasks.needle(rng, length, held_out_stories) for _ in range(40)], length)
    for task in tasks.SHORT_TASKS:
        report[task.__name__] = rate([task(rng) for _ in range(200)], LONGEST)
    return report
