#!/usr/bin/env python3
"""Scores of random and hostile tag sequences, as seqeval 1.2.2 computes them. Needs seqeval; made with numpy 2.4.6.

    python make_seqeval.py                      # seqeval.json, beside this file

A case holds gold and predicted sentences, their tags parted by tabs, and what seqeval makes of them in its default mode
and in strict IOB2, both with zero_division=0: `null` where it raises, else a row for each type and then for the micro,
macro and weighted average. A row is `name precision recall f1 support`, with shares in the digits that give back the
same double. Some cases have the text of the report as well, with as many digits as `digits` says. A case without any
entity has no rows: seqeval has no report of it. `raises` are tags that JSON is needed to write down.
"""
import json
import random
import warnings
from pathlib import Path

from seqeval.metrics import classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

MODES = {"default": {}, "strict": {"mode": "strict", "scheme": IOB2}}
AVERAGES = ["micro", "macro", "weighted"]
TYPES = ["PER", "LOC", "ORG", "building-airport", "GPE_sub-type", "é", "a b"]
HOSTILE = ["B", "I", "O", "E", "S", "-", "B-", "I-", "--", "-PER", "X-PER", "B-PER-x", "I-PER-x", "E-PER", "S-PER", "L-PER",
           "U-PER", ".", ".-PER", "O-PER", "O-", "BPER", "IPER", "OPER", "PER", "b-PER", "i-PER", "B--PER", "I--PER",
           "B-PER-", "I-PER-", "B-_", "I-_", "B-é", "é-PER", "é", "B-PER ", " B-PER", "B_PER", "B-O", "I-O", "0", "B-B-PER"]
MILD = ["B", "I", "O", "B-", "I-", "O-PER", "BPER", "IPER", "B--PER", "I-PER-", "B-PER-x", "I-PER-x", "B-_", "I-_", "OPER"]


def spelled(rng, n, types, prefixes):
    """Tags that spell whole entities: IOB2, or IOBES where there are more prefixes."""
    tags = []
    while len(tags) < n:
        if rng.random() < 0.5:
            tags.append("O")
            continue
        kind, length = rng.choice(types), min(rng.choice([1, 1, 2, 3]), n - len(tags))
        if prefixes == "BI":
            entity = ["B"] + ["I"] * (length - 1)
        else:
            first, last, single = prefixes[0], prefixes[2], prefixes[3]
            entity = [single] if length == 1 else [first] + ["I"] * (length - 2) + [last]
        tags += [f"{prefix}-{kind}" for prefix in entity]
    return tags


def drawn(rng, n, alphabet):
    return [rng.choice(alphabet) for _ in range(n)]


def disturbed(rng, tags, alphabet):
    return [rng.choice(alphabet) if rng.random() < 0.3 else tag for tag in tags]


def sentences(rng, make, longest=9):
    return [make(rng.choice([0, 1, 1, 2, 3] + list(range(4, longest)))) for _ in range(rng.randint(1, 4))]


def row(name, scores):
    precision, recall, f1, support = scores
    return f"{name}\t{float(precision)!r} {float(recall)!r} {float(f1)!r} {int(support)}"


def scores(gold, predicted, options):
    options = {"zero_division": 0, **options}
    try:
        f1 = f1_score(gold, predicted, **options)
    except (KeyError, ValueError, IndexError):
        return None
    report = classification_report(gold, predicted, output_dict=True, **options)
    names = list(report)
    if len(names) == len(AVERAGES):
        assert f1 == 0
        return []
    # `average` asks the functions that people call, beside the report.
    for average in AVERAGES:
        functions = (precision_score, recall_score, f1_score)
        of = [function(gold, predicted, average=average, **options) for function in functions]
        assert of == list(report[f"{average} avg"].values())[:3]
    assert names[-3:] == [f"{average} avg" for average in AVERAGES]
    return [row(name, report[name].values()) for name in names]


def case(gold, predicted, digits=None):
    entry = {part: ["\t".join(tags) for tags in tagged] for part, tagged in (("gold", gold), ("predicted", predicted))}
    for mode, options in MODES.items():
        entry[mode] = scores(gold, predicted, options)
        if digits is not None and entry[mode]:
            entry["digits"] = digits
            entry[f"{mode}_text"] = classification_report(gold, predicted, digits=digits, zero_division=0, **options)
    return entry


def many_types(rng, n):
    """As many types as make sums long, each of a few entities."""
    gold = [[f"B-t{kind:03}"] * rng.randint(1, 4) for kind in range(n)]
    return gold, [["O" if rng.random() < 0.4 else tag for tag in tags] for tags in gold]


def main():
    warnings.simplefilter("ignore")
    rng = random.Random(20)
    cases = []

    def add(gold, predicted):
        cases.append(case(gold, predicted, digits=len(cases) % 7 if len(cases) % 9 == 0 else None))

    for at in range(40):
        types = TYPES[: rng.randint(1, len(TYPES))]
        plain = [f"{prefix}-{kind}" for prefix in "BI" for kind in types] + ["O"]
        gold = sentences(rng, lambda n: spelled(rng, n, types, "BI"))
        add(gold, [disturbed(rng, tags, plain) for tags in gold])
        gold = sentences(rng, lambda n: drawn(rng, n, plain))
        add(gold, [drawn(rng, len(tags), plain) if at % 2 else disturbed(rng, tags, plain) for tags in gold])
        scheme = rng.choice(["BIES", "BILU"])
        alphabet = [f"{prefix}-{kind}" for prefix in scheme for kind in types[:3]] + ["O"]
        gold = sentences(rng, lambda n: spelled(rng, n, types[:3], scheme))
        add(gold, [disturbed(rng, tags, alphabet) for tags in gold])
        gold = sentences(rng, lambda n: drawn(rng, n, HOSTILE))
        add(gold, [disturbed(rng, tags, HOSTILE) for tags in gold])
        gold = sentences(rng, lambda n: drawn(rng, n, MILD))
        add(gold, [disturbed(rng, tags, MILD) for tags in gold])
    for tag in HOSTILE:
        add([[tag]], [["O"]])
        add([["O", tag, "I-PER"]], [["B-PER", tag, tag]])
    add([["B-PER"], ["I-PER"]], [["B-PER"], ["I-PER"]])
    add([[]], [[]])
    add([["O", "O"], []], [["O", "O"], []])
    # An eighth and its like, which two digits cannot tell from the next.
    for right in range(9):
        gold = ["B-PER"] * 8
        cases.append(case([gold], [["B-PER"] * right + ["O"] * (8 - right)], digits=2))
    cases.append(case([["B-a-name-longer-than-any-average"]], [["B-PER"]], digits=20))
    for n in (7, 8, 9, 17, 66, 261):
        cases.append(case(*many_types(rng, n), digits=None))

    raises = []
    for mode, options in MODES.items():
        for gold, predicted in (
            [[["B-PER", ""]], [["O", "O"]]],
            [[["O"]], [[""]]],
            [[["O", "O"]], [["O"]]],
            [[["O"], ["O"]], [["O"]]],
            [[["O"], ["O", "O"]], [["O", "O"], ["O"]]],
        ):
            assert_raises(gold, predicted, options)
            raises.append({"mode": mode, "gold": gold, "predicted": predicted})
    out = Path(__file__).parent / "seqeval.json"
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in cases)
    raised = ",\n".join(json.dumps(entry) for entry in raises)
    out.write_text(f'{{"cases":[\n{lines}\n],"raises":[\n{raised}\n]}}\n', encoding="utf-8")
    print(f"{len(cases)} cases, {out.stat().st_size} bytes")


def assert_raises(gold, predicted, options):
    try:
        f1_score(gold, predicted, zero_division=0, **options)
    except (IndexError, ValueError):
        return
    raise AssertionError((gold, predicted))


if __name__ == "__main__":
    main()
