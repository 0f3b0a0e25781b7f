#!/usr/bin/env python3
"""How much faster than llama.cpp, and how close to the machine's limit: runs of both on one file, in turn.

    compare_with_llama_cpp.py [--models e2b-q4_0,gemma3-270m] [--isa native,avx2] [--threads 2] [--rounds 3]
                              [--work FOLDER] [--out bench/results/NAME.md]

Models are made or fetched on first use and kept in --work: e2b-TYPE and e4b-TYPE are Gemma 3n at full size with random
weights (`unicorn generate`; TYPE q4_0, q4_k_m, q8_0 …), gemma3-270m is the published Gemma 3 270M Q4_K_M. A round runs
`unicorn bench` once, then llama.cpp once (scripts/peer), each with a warm-up. Both sides' instruction set is pinned
('native': the best this CPU has). The report gives, over the rounds, the medians, the spread (largest - smallest, of
the median), the median of the rounds' ratios, and our share of the limit that our bench measured in its run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "scripts/peer"))
import fetch  # noqa: E402
import peer  # noqa: E402

PROMPT_IDS = [2] + [1000 + 37 * i for i in range(15)]  # 16 tokens that every vocabulary here has


def command(unicorn, model, threads, prefill, decode, depth):
    return [str(unicorn), "bench", str(model), "--prefill", prefill, "--decode", str(decode), "--depth", depth,
            "--threads", str(threads), "--reps", "1", "--json"]


def output(words, isa):
    env = os.environ | ({"UNICORN_ISA": isa} if isa else {})
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, env=env).stdout


def model_file(name, unicorn, work):
    if name == "gemma3-270m":
        return fetch.gemma3_270m()
    path = work / f"{name}.gguf"
    if not path.exists():
        shape, _, dtype = name.partition("-")
        output([str(unicorn), "generate", "--shape", shape, "--type", dtype, "--tokenizer", str(fetch.tokenizer()), "--out",
                str(path)], None)
    return path


def native_isa(unicorn):
    """The instruction set that our program chooses here, by its own account: one that llama.cpp has a library for."""
    devices = json.loads(output([str(unicorn), "devices", "--json"], None))["devices"]
    description = next(d["description"] for d in devices if d["name"] == "cpu")
    return description.rsplit(", ", 1)[1]


def first_token_seconds(unicorn, model, threads, isa):
    """From the start of the process to its end, with one token generated after a prompt of 16."""
    start = time.monotonic()
    output([str(unicorn), "run", str(model), "--ids", ",".join(map(str, PROMPT_IDS)), "-n", "1", "--temp", "0",
            "--threads", str(threads), "--quiet", "--json"], isa)
    return time.monotonic() - start


def spread(values):
    return (max(values) - min(values)) / statistics.median(values)


def compare(name, path, isa, a):
    """One table, as lines of markdown, and what `unicorn bench` said of the machine."""
    ours, theirs, first = [], [], []
    for number in range(a.rounds):
        print(f"{name}, {isa}, round {number + 1} of {a.rounds}", file=sys.stderr, flush=True)
        runs = [json.loads(output(command(a.unicorn, path, a.threads, a.prefill, a.decode, "0"), isa)),
                json.loads(output(command(a.unicorn, path, a.threads, "0", a.decode, a.depth), isa))]
        ours.append({"rows": [r for run in runs for r in run["rows"]], "peak_rss_mb": max(r["peak_rss_mb"] for r in runs),
                     "limits": runs[0]})
        first.append(first_token_seconds(a.unicorn, path, a.threads, isa))
        theirs.append(peer.run("bench", path, isa=isa, threads=a.threads, prefill=a.prefill, prefill_depth="0",
                               decode=a.decode, depth=f"0,{a.depth}", reps=1))
    lines = [f"### {name}, {isa}", "",
             f"int8 peak {statistics.median(o['limits']['int8_gops'] for o in ours):.0f} Gop/s, read bandwidth "
             f"{min(o['limits']['read_gb_s'] for o in ours):.1f} to {max(o['limits']['read_gb_s'] for o in ours):.1f} GB/s; "
             f"llama.cpp's library '{theirs[0]['backend']}'", "",
             "| test | unicorn t/s | spread | llama.cpp t/s | spread | ratio | limit t/s | share of the limit |",
             "|---|---|---|---|---|---|---|---|"]
    for row in ours[0]["rows"]:
        key = (row["test"], row["n"], row["depth"])
        mine = [next(r for r in run["rows"] if (r["test"], r["n"], r["depth"]) == key) for run in ours]
        peers = [next(r for r in run["rows"] if (r["test"], r["n"], r["depth"]) == key)["median_tps"] for run in theirs]
        tps = [r["median_tps"] for r in mine]
        ratios = [m / p for m, p in zip(tps, peers)]
        lines.append(f"| {key[0]} {key[1]} at depth {key[2]} | {statistics.median(tps):.1f} | {100 * spread(tps):.0f} % | "
                     f"{statistics.median(peers):.1f} | {100 * spread(peers):.0f} % | **{statistics.median(ratios):.2f}** | "
                     f"{statistics.median(r['limit_tps'] for r in mine):.1f} | "
                     f"{100 * statistics.median(r['share_of_limit'] for r in mine):.0f} % |")
    memory = [statistics.median(run["peak_rss_mb"] for run in side) for side in (ours, theirs)]
    lines += ["", f"Peak memory {memory[0]:.0f} MB, llama.cpp {memory[1]:.0f} MB: ratio {memory[0] / memory[1]:.2f}. "
              f"Process start to the first token of a 16-token prompt: {statistics.median(first):.2f} s.", ""]
    return lines, ours[0]["limits"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unicorn", default=TOP / "build/release/unicorn")
    parser.add_argument("--models", default="e2b-q4_0,gemma3-270m")
    parser.add_argument("--isa", default="native")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefill", default="512,2048")
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--depth", default="2048", help="a second depth for decode, besides 0")
    parser.add_argument("--work", type=Path, help="where models are kept (default: the test cache)")
    parser.add_argument("--out", type=Path, help="also written to this file")
    a = parser.parse_args()
    work = a.work or fetch.cache() / "generated"
    work.mkdir(parents=True, exist_ok=True)
    try:
        tables, machine = [], None
        for name in a.models.split(","):
            path = model_file(name, a.unicorn, work)
            for isa in a.isa.split(","):
                lines, machine = compare(name, path, native_isa(a.unicorn) if isa == "native" else isa, a)
                tables += lines
        report = [f"# {machine['cpu']}, {a.threads} threads", "",
                  f"Commit {machine['commit']}, {time.strftime('%Y-%m-%d', time.gmtime())}, llama.cpp "
                  f"{fetch.LLAMA_VERSION}, {a.rounds} rounds.", "", "```",
                  f"bench/compare_with_llama_cpp.py --models {a.models} --isa {a.isa} --threads {a.threads} --rounds {a.rounds} "
                  f"--prefill {a.prefill} --decode {a.decode} --depth {a.depth}", "```", "", *tables]
    except (fetch.Unavailable, RuntimeError, subprocess.CalledProcessError) as reason:
        print(f"compare_with_llama_cpp: {reason}", file=sys.stderr)
        return 1
    text = "\n".join(report)
    print(text)
    if a.out:
        with tempfile.NamedTemporaryFile("w", dir=a.out.parent, delete=False) as file:
            file.write(text)
        Path(file.name).chmod(0o644)
        Path(file.name).replace(a.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
