#!/usr/bin/env python3
"""Holds src/ to the stairs: which folder may include which.

Reads every #include of our own headers under src/, and the DEPS of every unicorn_library, against the table
below. Prints file:line, the include and the rule it breaks; exit status 1 if there is any.

    scripts/check_includes.py [TOP]        TOP is the folder that holds src/, by default this repository
"""
import re
import sys
from pathlib import Path

# The house, floor by floor. A row names what a folder may include besides itself; a name that ends in .h is
# that one header. "backends/X" stands for any single backend, "backends" for the registry that names them all.
STAIRS = {
    "core": "",
    "quant": "core",
    "text": "core",
    "hub": "core",
    "formats": "core quant",
    "plan": "core quant",
    "constrain": "core quant text",
    "model": "core quant formats plan",
    "backends/X": "core quant plan",
    "backends": "core quant plan backends/X",
    "engine": "core quant text constrain formats plan model backends/registry.h",
    "tools": "core quant text hub constrain formats plan model engine backends/registry.h backends/X/tools.h",
    "server": "core text constrain hub engine",
    "cli": "core quant text hub constrain formats plan model engine tools server",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    """The folder a path under src/ belongs to: 'quant', 'backends' or 'backends/cpu'; None at the top."""
    parts = path.split("/")
    if len(parts) == 1:
        return None
    return "/".join(parts[:2]) if parts[0] == "backends" and len(parts) > 2 else parts[0]


def row_of(folder):
    return "backends/X" if folder.startswith("backends/") else folder


def allowed(folder, target):
    """May a file of `folder` include `target`, a path under src/?"""
    to = folder_of(target)
    if to == folder:
        return True
    rooms = STAIRS[row_of(folder)].split()
    if row_of(to) in rooms:
        return True
    generic = re.sub(r"^backends/[^/]+/", "backends/X/", target)
    return target in rooms or generic in rooms


def rule(folder):
    row = row_of(folder)
    return f"{row} may include: {STAIRS[row] or 'nothing of ours'}"


def check_file(src, path):
    name = path.relative_to(src).as_posix()
    folder = folder_of(name)
    if folder is None or row_of(folder) not in STAIRS:
        yield f"src/{name}:1: folder '{name.split('/')[0]}' has no row in the stairs table of scripts/check_includes.py"
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, target = match.groups()
        first = target.split("/")[0]
        where = f"src/{name}:{number}: #include {quote}{target}{'>' if quote == '<' else quote}"
        if quote == "<":
            if (src / target).is_file():
                yield f'{where}: our own headers are included with "…"'
            continue
        if target.startswith("tests/") and name.endswith("_test.cc"):
            continue  # helpers shared by tests
        if not (src / target).is_file():
            yield f"{where}: no such file under src/ (paths start there: \"quant/q4_0.h\"; libraries take <…>)"
        elif ".." in target.split("/") or folder_of(target) is None or row_of(folder_of(target)) not in STAIRS:
            yield f"{where}: folder '{first}' has no row in the stairs table"
        elif not allowed(folder, target):
            yield f"{where}: {rule(folder)}"


def check_cmake(src, path):
    """A library's DEPS are its row: linking more than the row would let a missing include go unnoticed."""
    name = path.relative_to(src).as_posix()
    text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
    for match in re.finditer(r"unicorn_library\s*\(\s*(\S+)([^)]*)\)", text):
        folder, body = match.groups()
        deps = re.search(r"\bDEPS\b((?:\s+[a-z_/0-9]+)*)", body)
        line = text[: match.start()].count("\n") + 1
        if row_of(folder) not in STAIRS:
            yield f"src/{name}:{line}: folder '{folder}' has no row in the stairs table"
            continue
        rooms = STAIRS[row_of(folder)].split()
        for dep in (deps.group(1).split() if deps else []):
            # The library behind backends/registry.h is the folder "backends".
            if row_of(dep) not in rooms and not (dep == "backends" and "backends/registry.h" in rooms):
                yield f"src/{name}:{line}: DEPS {dep}: {rule(folder)}"


def check(top):
    src = Path(top) / "src"
    problems, n_files = [], 0
    for path in sorted(src.rglob("*")):
        if path.suffix in (".h", ".cc", ".inc"):
            problems += check_file(src, path)
            n_files += 1
        elif path.name == "CMakeLists.txt":
            problems += check_cmake(src, path)
    return problems, n_files


def main():
    top = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    problems, n_files = check(top)
    for problem in problems:
        print(problem)
    print(f"{n_files} files under src/ read, {len(problems)} includes break the stairs")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
