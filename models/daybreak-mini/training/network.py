"""A Llama with Hugging Face's parameter names, so that its state dictionary is the export."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

import tasks


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    rope_theta: float = 100000.0
    norm_eps: float = 1e-5


FULL = Shape(hidden=384, layers=8, query_heads=6, kv_heads=2, head_dim=64, mlp=1024)
SMOKE = Shape(hidden=64, layers=2, query_heads=2, kv_heads=1, head_dim=32, mlp=128)


def rope_tables(shape, length, device):
    """Cosines and sines `[length, head_dim]`, both halves alike."""
    inverse_frequencies = 1 / shape.rope_theta ** (torch.arange(0, shape.head_dim, 2, device=device).float() / shape.head_dim)
    angles = torch.outer(torch.arange(length, device=device).float(), inverse_frequencies)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate_half(x):
    first, second = x.chunk(2, -1)
    return torch.cat([-second, first], -1)


class RMSNorm(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.hidden))
        self.eps = shape.norm_eps

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        query, kv = shape.query_heads * shape.head_dim, shape.kv_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden, query, bias=False)
        self.k_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.v_proj = nn.Linear(shape.hidden, kv, bias=False)
        self.o_proj = nn.Linear(query, shape.hidden, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        heads = lambda projected, count: projected.view(batch, length, count, self.shape.head_dim).transpose(1, 2)
        q = heads(self.q_proj(x), self.shape.query_heads)
        k = heads(self.k_proj(x), self.shape.kv_heads)
        v = heads(self.v_proj(x), self.shape.kv_heads)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        group = self.shape.query_heads // self.shape.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class GatedMLP(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.mlp, bias=False)
        self.down_proj = nn.Linear(shape.mlp, shape.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = RMSNorm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape)
        self.mlp = GatedMLP(shape)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Token ids `[batch, length]` to logits `[batch, length, vocabulary]`, in the type of the rotary tables. Tied embeddings."""

    def __init__(self, shape):
        super().__init__()
        self.embed_tokens = nn.Embedding(tasks.VOCABULARY, shape.hidden)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        # What is added to the residual stream starts smaller, the more often it is added to (GPT-2).
        for block in self.layers:
            nn.init.normal_(block.self_attn.o_proj.weight, std=0.02 / (2 * shape.layers) ** 0.5)
            nn.init.normal_(block.mlp.down_proj.weight, std=0.02 / (2 * shape.layers) ** 0.5)

    def forward(self, ids, cos, sin):
        x = self.embed_tokens(ids).to(cos.dtype)
        for block in self.layers:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embed_tokens.weight.to(x.dtype))
