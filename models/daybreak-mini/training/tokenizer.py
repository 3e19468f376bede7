"""The tokenizer: byte-level BPE of 1,984 tokens in which every digit is a token of its own, and six special tokens behind them."""

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import tasks


def corpus(stories, num_conversations):
    """Stories, and the text of short conversations and small documents, as the model will see them."""
    yield from stories[:6000]
    rng = random.Random(5)
    kinds = tasks.SHORT_TASKS + [tasks.lines]
    for _ in range(num_conversations):
        for part, _ in rng.choice(kinds)(rng, 200, stories).segments:
            if isinstance(part, str):
                yield part


def train_tokenizer(stories, smoke):
    """Without the special tokens: while training data is made they are ids, never text. `add_special_tokens` adds them for export."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tasks.TEXT_VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(stories, 50 if smoke else 40000), trainer)
    if tokenizer.get_vocab_size() != tasks.TEXT_VOCABULARY and not smoke:
        raise ValueError(f"the corpus gave {tokenizer.get_vocab_size()} tokens, not {tasks.TEXT_VOCABULARY}")
    return tokenizer


def load_tokenizer(directory):
    """The tokenizer of an exported model, to go on training with."""
    return Tokenizer.from_file(f"{directory}/tokenizer.json")
