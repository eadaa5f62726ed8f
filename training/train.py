#!/usr/bin/env python3
"""Trains the demo model: a small Qwen 3 on Shakespeare's plays, with a byte-pair vocabulary of its own.

    pip install torch numpy tokenizers gguf
    python train.py TEXT OUT.gguf [--device cuda] [--steps 1200] [--log log.jsonl]

The first 95 % of the text train, the rest is never seen and judges: the weights of the evaluation with the least
held-out loss are the ones that are written, matrices as Q8_0, norms as F32. One JSON line an evaluation goes to the log.
"""
import argparse
import copy
import json
import math
import time

import gguf
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"


class Shape:
    """What the file's metadata will say."""

    vocabulary, context, layers = 1024, 512, 6
    width, heads, kv_heads, head_width, ffn_width = 192, 6, 2, 32, 512
    epsilon, base = 1e-6, 10_000.0


def words(text):
    """A byte-pair vocabulary learnt from the text, cut as GPT-2 cuts words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=Shape.vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, Shape.epsilon)


class Attention(nn.Module):
    """Grouped heads; a norm on every head of queries and keys, then the turn by position."""

    def __init__(self, dropout):
        super().__init__()
        s, self.dropout = Shape, dropout
        self.q = nn.Linear(s.width, s.heads * s.head_width, bias=False)
        self.k = nn.Linear(s.width, s.kv_heads * s.head_width, bias=False)
        self.v = nn.Linear(s.width, s.kv_heads * s.head_width, bias=False)
        self.output = nn.Linear(s.heads * s.head_width, s.width, bias=False)
        self.q_norm, self.k_norm = Norm(s.head_width), Norm(s.head_width)

    def forward(self, x, cos, sin):
        batch, rows, _ = x.shape

        def heads(linear, count):
            return linear(x).view(batch, rows, count, Shape.head_width).transpose(1, 2)

        def turned(x):
            a, b = x.chunk(2, -1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

        q = turned(self.q_norm(heads(self.q, Shape.heads)))
        k = turned(self.k_norm(heads(self.k, Shape.kv_heads)))
        v = heads(self.v, Shape.kv_heads)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True, dropout_p=dropout)
        return self.output(y.transpose(1, 2).reshape(batch, rows, -1))


class Layer(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        s = Shape
        self.attn_norm, self.attn, self.ffn_norm = Norm(s.width), Attention(dropout), Norm(s.width)
        self.gate = nn.Linear(s.width, s.ffn_width, bias=False)
        self.up = nn.Linear(s.width, s.ffn_width, bias=False)
        self.down = nn.Linear(s.ffn_width, s.width, bias=False)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, cos, sin):
        x = x + self.drop(self.attn(self.attn_norm(x), cos, sin))
        h = self.ffn_norm(x)
        return x + self.drop(self.down(F.silu(self.gate(h)) * self.up(h)))


class Model(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        s = Shape
        self.embedding = nn.Embedding(s.vocabulary, s.width)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(s.layers))
        self.norm = Norm(s.width)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(weight, std=0.03 / (math.sqrt(2 * s.layers) if deep else 1.0))
        turns = s.base ** (-torch.arange(0, s.head_width, 2) / s.head_width)
        angles = torch.outer(torch.arange(s.context), turns)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids):
        x = self.embedding(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), self.embedding.weight)


def nats(model, ids, rows):
    """Mean loss of every token but the first of each piece, over all pieces of so many tokens."""
    model.eval()
    total = count = 0
    with torch.no_grad():
        for piece in ids[: len(ids) // rows * rows].view(-1, rows).split(16):
            logits = model(piece[:, :-1]).float()
            total += F.cross_entropy(logits.flatten(0, 1), piece[:, 1:].flatten(), reduction="sum").item()
            count += piece[:, 1:].numel()
    model.train()
    return total / count


def train(ids, held_out, options, note):
    torch.manual_seed(options.seed)
    model = Model(options.dropout).to(options.device)
    matrices = [w for w in model.parameters() if w.dim() == 2]
    others = [w for w in model.parameters() if w.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
    best, kept, begun = math.inf, None, time.time()
    for step in range(options.steps + 1):
        if step % options.every == 0 or step == options.steps:
            loss = nats(model, held_out, options.rows)
            note(step=step, seconds=round(time.time() - begun), held_out_nats=round(loss, 4))
            if loss < best:
                best, kept = loss, copy.deepcopy(model.state_dict())
        warm = min(1.0, (step + 1) / 50)
        done = step / options.steps
        for group in adam.param_groups:
            group["lr"] = options.rate * warm * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)
        starts = torch.randint(len(ids) - options.rows, (options.batch,))
        batch = torch.stack([ids[at : at + options.rows] for at in starts])
        with torch.autocast(options.device, torch.bfloat16):
            logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    model.load_state_dict(kept)
    return model, best


def write(model, tokenizer, path):
    s = Shape
    out = gguf.GGUFWriter(path, "qwen3")
    out.add_name("Forebay demo")
    out.add_description("Trained on Shakespeare's plays, to show that the program works.")
    out.add_license("MIT OR Apache-2.0")
    out.add_context_length(s.context)
    out.add_embedding_length(s.width)
    out.add_block_count(s.layers)
    out.add_feed_forward_length(s.ffn_width)
    out.add_head_count(s.heads)
    out.add_head_count_kv(s.kv_heads)
    out.add_key_length(s.head_width)
    out.add_value_length(s.head_width)
    out.add_rope_freq_base(s.base)
    out.add_layer_norm_rms_eps(s.epsilon)
    out.add_vocab_size(s.vocabulary)
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)

    learnt = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(learnt["vocab"], key=learnt["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if token == END else gguf.TokenType.NORMAL for token in tokens]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in learnt["merges"]])
    out.add_eos_token_id(tokens.index(END))
    out.add_add_bos_token(False)

    def matrix(name, weight):
        kind = gguf.GGMLQuantizationType.Q8_0
        floats = weight.detach().float().cpu().numpy()
        out.add_tensor(f"{name}.weight", gguf.quants.quantize(floats, kind), raw_dtype=kind)

    def norm(name, weight):
        out.add_tensor(f"{name}.weight", weight.detach().float().cpu().numpy().astype(np.float32))

    matrix("token_embd", model.embedding.weight)
    norm("output_norm", model.norm.weight)
    for number, layer in enumerate(model.layers):
        at, attn = f"blk.{number}", layer.attn
        norm(f"{at}.attn_norm", layer.attn_norm.weight)
        norm(f"{at}.attn_q_norm", attn.q_norm.weight)
        norm(f"{at}.attn_k_norm", attn.k_norm.weight)
        matrix(f"{at}.attn_q", attn.q.weight)
        matrix(f"{at}.attn_k", attn.k.weight)
        matrix(f"{at}.attn_v", attn.v.weight)
        matrix(f"{at}.attn_output", attn.output.weight)
        norm(f"{at}.ffn_norm", layer.ffn_norm.weight)
        matrix(f"{at}.ffn_gate", layer.gate.weight)
        matrix(f"{at}.ffn_up", layer.up.weight)
        matrix(f"{at}.ffn_down", layer.down.weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("text")
    parser.add_argument("out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--log", default="log.jsonl")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rows", type=int, default=257)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    text = open(options.text, encoding="utf-8").read()
    cut = int(len(text) * 0.95)
    seen, unseen = text[:cut], text[cut:]
    tokenizer = words(seen)
    ids, held_out = (torch.tensor(tokenizer.encode(t).ids, device=options.device) for t in (seen, unseen))
    log = open(options.log, "w", encoding="utf-8")

    def note(**facts):
        line = json.dumps(facts)
        print(line, flush=True)
        print(line, file=log, flush=True)

    settings = {k: v for k, v in vars(options).items() if k not in ("text", "out", "log")}
    note(torch=torch.__version__, train_tokens=len(ids), held_out_tokens=len(held_out), **settings)
    model, best = train(ids, held_out, options, note)
    write(model, tokenizer, options.out)
    per_byte = best / math.log(2) * len(held_out) / len(unseen.encode())
    note(held_out_perplexity=round(math.exp(best), 3), held_out_bits_per_byte=round(per_byte, 4))


if __name__ == "__main__":
    main()
