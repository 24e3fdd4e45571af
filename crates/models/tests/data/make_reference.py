#!/usr/bin/env python3
"""Small models and their hidden states, as `transformers` computes them. Needs torch, transformers and safetensors.

    python make_reference.py                    # tiny-bert, tiny-bert-tagger
    python make_reference.py path/to/minilm     # minilm.safetensors, from sentence-transformers/all-MiniLM-L6-v2

`tiny-bert` is a BertModel. `tiny-bert-tagger` is a BertForTokenClassification in float16, saved in several files; its
logits are those of its float16 weights computed in float32. A reference holds padded batches, `ids` and `mask`, and
`embeddings`, `hidden` or `logits` of the tokens that are not masked, row after row.
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification, BertModel

OUT = Path(__file__).parent
SENTENCES = [
    "Oslo",
    "Grace Hopper wrote the first compiler in 1952.",
    "The committee, which had met in Geneva since the spring, agreed on nothing but the date of its next meeting.",
    "Unpronounceable names such as Llanfairpwllgwyngyll are cut into pieces by a tokenizer that has never seen them; "
    "what matters is that the pieces of one name attend to each other, and that a label sits on the first of them.",
]


def tiny_config():
    return BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                      max_position_embeddings=24, initializer_range=0.3, id2label={0: "O", 1: "B-X", 2: "I-X"},
                      label2id={"O": 0, "B-X": 1, "I-X": 2})


def stir(model):
    """Biases and layer normalisations start as 0 and 1, which would hide a mistake in them."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def padded(lengths, vocab_size):
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    return torch.randint(1, vocab_size, mask.shape) * mask, mask


def run(model, ids, mask):
    with torch.no_grad():
        out = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    result = {"ids": ids.to(torch.int64), "mask": mask.to(torch.int64)}
    if "logits" in out:
        result["logits"] = out.logits
    else:
        result |= {"embeddings": out.hidden_states[0], "hidden": out.last_hidden_state}
    return {name: (t[mask.bool()] if t.dim() == 3 else t).contiguous() for name, t in result.items()}


def batches(model):
    tensors = {}
    for at, lengths in enumerate([[7], [1, 24, 5], [3, 3, 9, 2]]):
        tensors |= {f"batch{at}.{k}": t for k, t in run(model, *padded(lengths, model.config.vocab_size)).items()}
    return tensors


def main():
    torch.manual_seed(11)
    if len(sys.argv) > 1:
        tokens = AutoTokenizer.from_pretrained(sys.argv[1])(SENTENCES, padding=True, return_tensors="pt")
        out = run(BertModel.from_pretrained(sys.argv[1]).eval(), tokens["input_ids"], tokens["attention_mask"])
        del out["embeddings"]
        save_file(out, OUT / "minilm.safetensors")
        return
    model = stir(BertModel(tiny_config(), add_pooling_layer=True))
    model.save_pretrained(OUT / "tiny-bert")
    save_file(batches(model), OUT / "tiny-bert" / "reference.safetensors")

    model = stir(BertForTokenClassification(tiny_config())).half()
    model.save_pretrained(OUT / "tiny-bert-tagger", max_shard_size="20KB")
    save_file(batches(model.float()), OUT / "tiny-bert-tagger" / "reference.safetensors")


main()
