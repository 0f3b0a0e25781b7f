#!/usr/bin/env python3
"""Objects built with instruction-set flags may not define symbols that other objects define too.

An inline or template function compiled in such a file is a weak symbol; the linker keeps one copy for the whole
program, and if it keeps this one, every CPU without the instruction set crashes in innocent code. So: no weak
definitions outside the namespace named after the instruction set.

    check_isa_symbols.py --isa avx2 --sources isa/avx2.cc --objects a.o b.o …  [--nm nm]
"""
import argparse
import re
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--isa", required=True)
    parser.add_argument("--sources", nargs="+", required=True)
    parser.add_argument("--objects", nargs="+", required=True)
    args = parser.parse_args()
    bad = 0
    for source in args.sources:
        objects = [o for o in args.objects if o.endswith(f"/{source}.o")]
        if len(objects) != 1:
            sys.exit(f"{source}: expected one object file, found {objects}")
        symbols = subprocess.run([args.nm, "-C", "--defined-only", objects[0]], check=True, capture_output=True, text=True)
        for line in symbols.stdout.splitlines():
            match = re.match(r"[0-9a-f]+ ([WVu]) (.*)", line)
            if match and f"::{args.isa}::" not in match.group(2):
                print(f"{source}: defines {match.group(2)}, which other files may define too; "
                      f"make it static, always_inline, or put it in namespace {args.isa}")
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
