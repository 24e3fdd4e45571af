#!/usr/bin/env python3
"""Loads a model with `transformers`, in the class that its configuration names, and compares its logits. Exits with 77
where a package is missing.

    python load_saved.py DIRECTORY EXPECTED     # EXPECTED: safetensors with `ids`, `mask` and packed `logits`
"""
import sys

try:
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

name, = transformers.AutoConfig.from_pretrained(sys.argv[1]).architectures
auto = {"BertForTokenClassification": "AutoModelForTokenClassification", "BertForMaskedLM": "AutoModelForMaskedLM"}[name]
model, info = getattr(transformers, auto).from_pretrained(sys.argv[1], output_loading_info=True)
assert type(model).__name__ == name, type(model)
assert not any(info.values()), info
if name == "BertForTokenClassification":
    assert model.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}, model.config.id2label
    assert model.config.label2id == {"O": 0, "B-X": 1, "I-X": 2}, model.config.label2id
expected = load_file(sys.argv[2])
ids, mask = expected["ids"].long(), expected["mask"].long()
logits = model.eval()(input_ids=ids, attention_mask=mask).logits[mask.bool()]
difference = (logits - expected["logits"]).abs().max().item()
assert difference < 1e-5, difference
print(f"{len(logits)} rows of logits differ by {difference:.1e} at most")
