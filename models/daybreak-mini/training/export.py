"""Writes a Hugging Face model directory: two f16 safetensors shards with an index, configuration, tokenizer, chat template."""

import json
import os

import torch
from safetensors.torch import load_file, save_file

import tasks

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
MAX_LENGTH = 8192

CHAT_TEMPLATE = (
    "{{ '<|bos|>' }}"
    "{% if tools %}{{ '<|system|>Tools: ' }}"
    "{% for t in tools %}{{ t.function.name }}({% for p in t.function.parameters.properties %}{{ p }}{{ ',' if not loop.last }}"
    "{% endfor %}){{ ', ' if not loop.last }}{% endfor %}{{ '<|end|>' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|user|>' + m.content }}"
    "{% elif m.tool_calls %}{{ '<|assistant|>' }}"
    "{% for c in m.tool_calls %}{{ '<tool_call>{\"name\":\"' + c.function.name + '\",\"arguments\":' + "
    "(c.function.arguments if c.function.arguments is string else c.function.arguments | tojson) + '}</tool_call>' }}{% endfor %}"
    "{{ '<|end|>' }}"
    "{% else %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_json(path, value, indent=None):
    with open(path, "w") as file:
        json.dump(value, file, indent=indent)


def model_config(shape):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.query_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": tasks.VOCABULARY,
        "max_position_embeddings": MAX_LENGTH,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": tasks.BOS,
        "eos_token_id": tasks.END,
        "torch_dtype": "float16",
    }


def save_weights(network, directory):
    """Embedding first, then layer by layer; the second shard begins where half of the weights are written."""
    state = {f"model.{name}": value.detach().to(torch.float16).contiguous().cpu() for name, value in network.state_dict().items()}
    layer_of = lambda name: int(name.split(".")[2]) if ".layers." in name else -1
    total = sum(value.numel() for value in state.values())
    shards, written = [[], []], 0
    for name in sorted(state, key=lambda name: (layer_of(name), name)):
        shards[int(written >= total / 2)].append(name)
        written += state[name].numel()
    for file, names in zip(SHARDS, shards):
        save_file({name: state[name] for name in names}, f"{directory}/{file}", metadata={"format": "pt"})
    index = {
        "metadata": {"total_size": total * 2},
        "weight_map": {name: file for file, names in zip(SHARDS, shards) for name in names},
    }
    write_json(f"{directory}/model.safetensors.index.json", index)


def load_weights(network, directory):
    """Takes the weights of an earlier export."""
    state = {name: value for file in SHARDS for name, value in load_file(f"{directory}/{file}").items()}
    network.load_state_dict({name.removeprefix("model."): value.float() for name, value in state.items()})


def export(network, shape, tokenizer, directory):
    os.makedirs(directory, exist_ok=True)
    write_json(f"{directory}/config.json", model_config(shape), indent=1)
    write_json(f"{directory}/generation_config.json", {"bos_token_id": tasks.BOS, "eos_token_id": tasks.END})
    save_weights(network, directory)
    tokenizer.add_special_tokens(tasks.SPECIAL_TOKENS)  # nothing to do for a tokenizer that has them
    tokenizer.save(f"{directory}/tokenizer.json")
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|bos|>",
        "eos_token": "<|end|>",
        "model_max_length": MAX_LENGTH,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(f"{directory}/tokenizer_config.json", tokenizer_config, indent=1)
