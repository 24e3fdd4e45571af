#!/usr/bin/env python3
"""Loads a directory with `transformers`, tokenizer and model, in the class that its configuration names, and compares ids
and logits of a text. Exits with 77 where a package is missing.

    python load_saved.py DIRECTORY EXPECTED TEXT     # EXPECTED: safetensors with `ids` and `logits`
"""
import sys

try:
    import transformers
    from safetensors.torch import load_file
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

directory, expected, text = sys.argv[1:]
name, = transformers.AutoConfig.from_pretrained(directory).architectures
auto = {"BertForTokenClassification": "AutoModelForTokenClassification", "BertForMaskedLM": "AutoModelForMaskedLM"}[name]
model, info = getattr(transformers, auto).from_pretrained(directory, output_loading_info=True)
assert type(model).__name__ == name, type(model)
assert not any(info.values()), info
tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
expected = load_file(expected)
ids = tokenizer(text, return_tensors="pt")["input_ids"]
assert ids[0].tolist() == expected["ids"].tolist(), (ids, expected["ids"])
logits = model.float().eval()(input_ids=ids).logits[0]
difference = (logits - expected["logits"]).abs().max().item()
assert difference < 1e-4, difference
print(name, f"{len(logits)} rows of logits differ by {difference:.1e} at most")
