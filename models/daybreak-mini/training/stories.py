"""Stories to train on, sampled from stories15M: a llama2.c checkpoint (MIT) and its tokenizer.bin."""

import struct
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

BOS = 1  # ends a story as well as it begins one
TEMPERATURE = 0.85
TOP_K = 40
BATCH = 4096
SHORTEST = 80  # characters; shorter samples are dropped
HEADER = struct.Struct("<7i")  # dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len


@dataclass
class Checkpoint:
    """The weights by name, in the file's order, stacked over the layers."""

    num_layers: int
    num_heads: int
    head_dim: int
    context: int
    weights: dict


def read_checkpoint(path, device):
    """Reads llama2.c's f32 format (tied embeddings; as many query as kv heads) and rounds the weights to f16, as they were used."""
    with open(path, "rb") as file:
        dim, hidden, layers, heads, kv_heads, vocabulary, context = HEADER.unpack(file.read(HEADER.size))
        flat = np.fromfile(file, np.float32)
    if heads != kv_heads or vocabulary < 0:
        raise ValueError(f"{path}: only tied embeddings and full attention heads are read here")
    flat = torch.from_numpy(flat.astype(np.float16)).to(device).float()
    shapes = {
        "embedding": (vocabulary, dim),
        "attention_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, dim, dim),
        "wv": (layers, dim, dim),
        "wo": (layers, dim, dim),
        "mlp_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "final_norm": (dim,),
    }
    weights, offset = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        weights[name] = flat[offset : offset + size].view(*shape)
        offset += size
    return Checkpoint(layers, heads, dim // heads, context, weights)


def read_pieces(path, vocabulary):
    """The bytes of each token from llama2.c's tokenizer.bin."""
    data = open(path, "rb").read()
    pieces, position = [], 4  # behind the longest piece's length
    for _ in range(vocabulary):
        _score, length = struct.unpack_from("<fi", data, position)
        position += 8
        pieces.append(data[position : position + length])
        position += length
    return pieces


def rms_norm(x, gain):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * gain


def rotate_pairs(x, position, inverse_frequencies):
    """Rotary embedding over adjacent pairs, as llama2.c has it."""
    cos, sin = torch.cos(position * inverse_frequencies), torch.sin(position * inverse_frequencies)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


@torch.no_grad()
def sample_tokens(model, batch, num_tokens, device):
    """`batch` stories at once, token by token with a KV cache. Returns ids `[batch, num_tokens]`; BOS after a story's end."""
    w, heads, head_dim = model.weights, model.num_heads, model.head_dim
    dim = heads * head_dim
    inverse_frequencies = 1 / 10000 ** (torch.arange(0, head_dim, 2, device=device).float() / head_dim)
    keys = torch.zeros(model.num_layers, batch, heads, model.context, head_dim, device=device)
    values = torch.zeros_like(keys)
    token = torch.full((batch,), BOS, dtype=torch.long, device=device)
    done = torch.zeros(batch, dtype=torch.bool, device=device)
    sampled = []
    for position in range(num_tokens):
        x = w["embedding"][token]
        for layer in range(model.num_layers):
            h = rms_norm(x, w["attention_norm"][layer])
            q = rotate_pairs((h @ w["wq"][layer].T).view(batch, heads, head_dim), position, inverse_frequencies)
            keys[layer, :, :, position] = rotate_pairs((h @ w["wk"][layer].T).view(batch, heads, head_dim), position, inverse_frequencies)
            values[layer, :, :, position] = (h @ w["wv"][layer].T).view(batch, heads, head_dim)
            seen = slice(0, position + 1)
            scores = (keys[layer, :, :, seen] @ q.unsqueeze(-1)).squeeze(-1) / head_dim**0.5
            attended = torch.softmax(scores, -1).unsqueeze(-2) @ values[layer, :, :, seen]
            x = x + attended.reshape(batch, dim) @ w["wo"][layer].T
            h = rms_norm(x, w["mlp_norm"][layer])
            x = x + (F.silu(h @ w["w1"][layer].T) * (h @ w["w3"][layer].T)) @ w["w2"][layer].T
        logits = rms_norm(x, w["final_norm"]) @ w["embedding"].T / TEMPERATURE
        top = logits.topk(TOP_K, -1)
        chosen = torch.multinomial(torch.softmax(top.values, -1), 1)
        token = top.indices.gather(-1, chosen).squeeze(-1)
        token = torch.where(done, torch.full_like(token, BOS), token)
        done |= token == BOS
        sampled.append(token)
    return torch.stack(sampled, 1)


def to_text(tokens, pieces):
    """A story's text up to its end; pieces such as `<0x0A>` are single bytes."""
    data = b""
    for token in tokens:
        if token == BOS:
            break
        piece = pieces[token]
        data += bytes([int(piece[3:5], 16)]) if len(piece) == 6 and piece.startswith(b"<0x") else piece
    return data.decode("utf8", "ignore").strip()


def sample_stories(checkpoint_path, tokenizer_path, count, device, smoke):
    """`count` samples as text, the very short ones left out. `smoke`: a few tokens each, to try the script out."""
    model = read_checkpoint(checkpoint_path, device)
    pieces = read_pieces(tokenizer_path, model.weights["embedding"].shape[0])
    stories = []
    for start in range(0, count, BATCH):
        tokens = sample_tokens(model, min(BATCH, count - start), 4 if smoke else model.context, device)
        for row in tokens.cpu().tolist():
            text = to_text(row, pieces)
            if len(text) > SHORTEST or smoke:
                stories.append(text or "A story.")
    return stories
