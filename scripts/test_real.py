#!/usr/bin/env python3
"""A published model on this engine: Gemma 3 270M (base, Q4_K_M). Downloads on first use (scripts/peer/fetch.py).

    test_real.py [--unicorn build/release/unicorn] [--threads N] [--kilobytes 200]

Checks that it says what it should, and that its perplexity on 200 kB of English is within 0.3 % of llama.cpp's on the
same token ids in the same windows. Exit status 77 when what it needs is not to be had, with the reason.
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "scripts/peer"))
import fetch  # noqa: E402
import peer  # noqa: E402

SKIPPED = 77

# Greedy continuations any sound copy of the model gives.
FACTS = [
    ("The Eiffel Tower is located in the city of", "Paris"),
    ("Paris is the capital of", "France"),
    ("Water is made of hydrogen and", "oxygen"),
    ("Monday, Tuesday, Wednesday,", "Thursday, Friday"),
]


def english(n_bytes):
    """At least n_bytes of English prose that lies on every Debian with Python: licences and Python's own manual."""
    parts = []
    for name in ("GPL-3", "Apache-2.0", "Artistic", "MPL-1.1", "GFDL-1.3"):
        path = Path("/usr/share/common-licenses") / name
        if path.exists():
            parts.append(path.read_text())
    import pydoc_data.topics
    for _, topic in sorted(pydoc_data.topics.topics.items()):
        for paragraph in re.split(r"\n\s*\n", topic):
            words = re.findall(r"[A-Za-z]{2,}", paragraph)
            if len(words) > 25 and sum(map(len, words)) > 0.7 * len(re.sub(r"\s", "", paragraph)):
                parts.append(re.sub(r"\s*\n\s*", " ", paragraph.strip()) + "\n")
    text = ""
    for part in parts:
        text += part + "\n"
        if len(text.encode()) >= n_bytes:
            return text
    raise fetch.Unavailable(f"only {len(text.encode())} bytes of English are on this machine, {n_bytes} wanted")


class Unicorn:
    def __init__(self, program, threads):
        self.program, self.threads = program, threads

    def __call__(self, command, *words, threads=True):
        line = [self.program, command, *map(str, words), "--json"] + (["--threads", str(self.threads)] if threads else [])
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, line))} ended with {done.returncode}")
        return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unicorn", default=TOP / "build/release/unicorn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kilobytes", type=int, default=200)
    parser.add_argument("--window", type=int, default=512, help="positions per window, BOS included")
    a = parser.parse_args()
    try:
        model = fetch.gemma3_270m()
        peer.driver()
    except fetch.Unavailable as reason:
        print(f"skipped: {reason}")
        return SKIPPED
    unicorn = Unicorn(a.unicorn, a.threads)
    print(f"{model.name} on {peer.cpu_name()}, {a.threads} threads")
    failed = 0

    def check(ok, text):
        nonlocal failed
        failed += not ok
        print(("ok      " if ok else "FAILED  ") + text, flush=True)

    for prompt, expected in FACTS:
        out = unicorn("run", model, "--prompt", prompt, "-n", 16, "--temp", 0)
        check(expected in out["text"], f"{prompt!r} → {out['text']!r} (wanted: {expected!r}), decode {out['decode_tps']:.1f} t/s")

    text = english(1000 * a.kilobytes)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        ids = unicorn("tokenize", model, "-f", file.name, threads=False)["ids"]
        start = time.monotonic()
        ours = unicorn("perplexity", model, "-f", file.name, "--ctx", a.window)
        seconds = time.monotonic() - start
    theirs = peer.run_windows("nll", model, windows_of(ids, ours["n_ctx"]), threads=a.threads)
    off = ours["perplexity"] / theirs["perplexity"] - 1
    print(f"text: {len(text.encode())} bytes, sha256 {digest}…, {len(ids)} ids, windows of {ours['n_ctx']}")
    print(f"unicorn    {ours['tokens']} tokens, perplexity {ours['perplexity']:.4f}, {seconds:.0f} s")
    print(f"llama.cpp  {theirs['tokens']} tokens, perplexity {theirs['perplexity']:.4f}, {theirs['seconds']:.0f} s "
          f"({theirs['peer']}, {theirs['backend']})")
    check(ours["tokens"] == theirs["tokens"], "both score the same number of tokens")
    check(abs(off) <= 0.003, f"perplexity differs by {100 * off:+.3f} % (at most 0.3 %)")
    return 1 if failed else 0


def windows_of(ids, size, bos=2):
    """The windows of `unicorn perplexity`: BOS, then the next size - 1 ids, each of them scored."""
    if ids and ids[0] == bos:
        ids = ids[1:]
    return [(1, [bos] + ids[at:at + size - 1]) for at in range(0, len(ids), size - 1)]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, fetch.Unavailable) as error:
        print(f"FAILED  {error}")
        sys.exit(1)
