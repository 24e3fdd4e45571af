"""Prints the hash of each episode of a JSONL file and that of all of them.

    python3 hash_episodes.py few-nerd.jsonl

Written from the documentation of `TaggingEpisode::hash` and `EpisodesHasher`, with nothing but Python's own library; the
figures in `tests/it/frozen.rs` are its output.
"""

import hashlib
import itertools
import json
import sys


def number(n):
    return n.to_bytes(8, "little")


def texts(texts):
    encoded = [text.encode("utf-8") for text in texts]
    return number(len(encoded)) + b"".join(number(len(text)) + text for text in encoded)


def spans_of(half, types):
    if "spans" in half:
        return [[(types.index(kind), start, end) for start, end, kind in spans] for spans in half["spans"]]
    found = []
    for labels in half["label"]:
        start, spans = 0, []
        for label, run in itertools.groupby(labels):
            end = start + len(list(run))
            if label != "O":
                spans.append((types.index(label), start, end))
            start = end
        found.append(spans)
    return found


def episode(line):
    hashed = texts(line["types"])
    for half in (line["support"], line["query"]):
        hashed += number(len(half["word"]))
        for words, spans in zip(half["word"], spans_of(half, line["types"])):
            hashed += texts(words) + number(len(spans))
            hashed += b"".join(number(n) for span in spans for n in span)
    return hashlib.sha256(hashed).digest()


together = hashlib.sha256(b"metashot episodes 1\n")
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        digest = episode(json.loads(line))
        print(digest.hex())
        together.update(digest)
print("together", together.hexdigest())
