#!/usr/bin/env python3
"""Makes the two files of sentence lengths beside it.

tagging.txt  512 lengths as the peers' tagging scripts draw them (numpy, seed 0): lognormal, mean 25, sigma 0.5,
             clipped to 3..128, sorted.
fewnerd.txt  the first 1000 sentences of Few-NERD INTER's training part, in tokens of MiniLM's tokenizer with
             [CLS] and [SEP], in the order of the file.

    python make.py DATA        DATA holds ner/fewnerd-inter-part and minilm-l6-v2
"""
import pathlib
import sys

import numpy as np
from tokenizers import Tokenizer

here, data = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[1])

mean, sigma, sents = 25.0, 0.5, 512
mu = np.log(mean) - sigma ** 2 / 2
lengths = np.sort(np.clip(np.rint(np.random.default_rng(0).lognormal(mu, sigma, sents)), 3, 128).astype(int))
(here / "tagging.txt").write_text("".join(f"{n}\n" for n in lengths))

tokenizer = Tokenizer.from_file(str(data / "minilm-l6-v2" / "tokenizer.json"))
tokenizer.no_truncation(), tokenizer.no_padding()
blocks = (data / "ner/fewnerd-inter-part/train.txt").read_text().split("\n\n")[:1000]
words = [[line.split()[0] for line in block.splitlines() if line.strip()] for block in blocks]
counts = [len(tokenizer.encode(sentence, is_pretokenized=True).ids) for sentence in words]
(here / "fewnerd.txt").write_text("".join(f"{n}\n" for n in counts))
