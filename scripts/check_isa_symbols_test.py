#!/usr/bin/env python3
"""check_isa_symbols.py must fail on an object with a shared inline function, and pass on one without.

    check_isa_symbols_test.py COMPILER NM
"""
import subprocess
import sys
import tempfile
from pathlib import Path

CHECK = Path(__file__).resolve().parent / "check_isa_symbols.py"
# Taking the address keeps the function out of line at any optimisation.
SHARED = "inline int shared(int x) { return x + 1; } namespace unicorn::avx2 { int (*entry)(int) = shared; }"
OWN = "namespace unicorn::avx2 { inline int own(int x) { return x + 1; } int (*entry)(int) = own; }"


def verdict(compiler, nm, text):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "isa.cc")
        source.write_text(text)
        subprocess.run([compiler, "-std=c++20", "-c", source, "-o", f"{source}.o"], check=True)
        return subprocess.run([sys.executable, CHECK, "--nm", nm, "--isa", "avx2", "--sources", "isa.cc",
                               "--objects", f"{source}.o"], capture_output=True, text=True)


def main():
    compiler, nm = sys.argv[1:]
    bad = verdict(compiler, nm, SHARED)
    assert bad.returncode == 1 and "isa.cc: defines shared(int)" in bad.stdout, bad
    good = verdict(compiler, nm, OWN)
    assert good.returncode == 0, good


if __name__ == "__main__":
    main()
