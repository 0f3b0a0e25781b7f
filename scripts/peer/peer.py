#!/usr/bin/env python3
"""llama.cpp on a GGUF file, for comparison. Fetches and builds what it needs on first use (fetch.py); JSON on stdout.

    peer.py bench MODEL.gguf --prefill 512,2048 --decode 64 --depth 0,2048 --threads 2 --reps 5 --isa avx2
    peer.py score MODEL.gguf --ids 2,651,3 --top 8
    peer.py perplexity MODEL.gguf --ids @FILE --window 512

`bench` prints what `unicorn bench --json` prints. --isa pins the library by instruction set: avx2, avx_vnni, avx512,
avx512_vnni, avx512_bf16, amx; or by llama.cpp's own name for it (haswell, zen4, …); 'auto' is its own choice. The
output names the one that ran, the CPU and the version.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fetch  # noqa: E402

# Our names for instruction sets → the library llama.cpp built for a processor that has just that.
ISA = {"avx2": "haswell", "avx_vnni": "alderlake", "avx512": "skylakex", "avx512_vnni": "icelake", "avx512_bf16": "zen4",
       "amx": "sapphirerapids"}


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def driver():
    """The compiled llama_peer, rebuilt when its source is newer."""
    root = fetch.llama_cpp()
    source, program = fetch.HERE / "llama_peer.cc", root / "llama_peer"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        fresh = program.with_suffix(f".{os.getpid()}")
        fetch._run("llama_peer", os.environ.get("CXX", "c++"), "-std=c++20", "-O2", source, "-o", fresh,
                   f"-I{root}/include", f"-L{root}/lib", f"-l:libllama.v{fetch.LLAMA_VERSION}.so",
                   f"-l:libggml.v{fetch.LLAMA_VERSION}.so", "-l:libggml-base.so", f"-Wl,-rpath,{root}/lib")
        fresh.rename(program)
    return program


def run(command, model, isa="auto", **options):
    """One run of the driver; options are its own, with '_' for '-'. Returns its JSON with cpu and version added."""
    program = driver()
    lib = program.parent / "lib"
    backend = lib if isa == "auto" else lib / f"libggml-cpu-{ISA.get(isa, isa)}.so"
    if not backend.exists():
        raise fetch.Unavailable(f"llama.cpp has no library for '{isa}'")
    words = [str(program), command, str(model), "--backend", str(backend)]
    for key, value in options.items():
        words += ["--" + key.replace("_", "-"), str(value)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"llama_peer {command} ended with {done.returncode}" +
                           (": an instruction this CPU lacks" if done.returncode == -4 else ""))
    return json.loads(done.stdout) | {"peer": f"llama.cpp {fetch.LLAMA_VERSION}", "cpu": cpu_name()}


def run_windows(command, model, windows, **options):
    """`windows`: (first, ids) pairs; the targets ids[first:] are scored."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for first, ids in windows:
            file.write(f"{first} " + " ".join(map(str, ids)) + "\n")
        file.flush()
        return run(command, model, windows=file.name, **options)


def parse_ids(text):
    if text.startswith("@"):
        text = Path(text[1:]).read_text()
    return [int(word) for word in text.replace(",", " ").replace("[", " ").replace("]", " ").split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["bench", "score", "perplexity"])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--kv", default="f16")
    parser.add_argument("--flash", default="auto", choices=["auto", "on", "off"])
    parser.add_argument("--repack", default="on", choices=["on", "off"])
    parser.add_argument("--prefill", default="512,2048")
    parser.add_argument("--prefill-depth", help="depths of the prefill rows (default: those of --depth)")
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--depth", default="0")
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--ids")
    parser.add_argument("--top", type=int, default=8)
    parser.add_argument("--logits", help="score: raw float32 [n, vocab]")
    parser.add_argument("--window", type=int, default=512, help="perplexity: ids per window, the BOS included")
    parser.add_argument("--bos", type=int, default=2, help="perplexity: what each window begins with")
    a = parser.parse_args()
    common = dict(isa=a.isa, threads=a.threads, kv=a.kv, flash=a.flash, repack=a.repack)
    try:
        if a.command == "bench":
            out = run("bench", a.model, prefill=a.prefill, prefill_depth=a.prefill_depth or a.depth, decode=a.decode, depth=a.depth,
                      reps=a.reps, **common) | {"threads": a.threads}
        elif a.ids is None:
            parser.error("--ids is missing")
        elif a.command == "score":
            extra = {"logits": a.logits} if a.logits else {}
            out = run_windows("score", a.model, [(1, parse_ids(a.ids))], top=a.top, **extra, **common)
        else:
            ids = [i for i in parse_ids(a.ids)]
            step = a.window - 1
            out = run_windows("nll", a.model, [(1, [a.bos] + ids[at:at + step]) for at in range(0, len(ids), step)], **common)
    except (fetch.Unavailable, RuntimeError) as reason:
        print(f"peer: {reason}", file=sys.stderr)
        return 1
    print(json.dumps(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
