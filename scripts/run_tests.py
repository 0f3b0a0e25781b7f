#!/usr/bin/env python3
"""Runs the stages of `make test`, times each, and counts test cases over all of them.

    run_tests.py [--jobs N] [--fuzz-seconds N]    format, release, asan (and UBSan), fuzz, tsan
    run_tests.py --stage asan                     one stage (may be repeated)
    run_tests.py --label real                     the release build's tests with that label
    run_tests.py --long [--soak-seconds N] [--only REGEX]
                                                  the tests labelled 'long', then ten minutes of each fuzzer; what ran and
                                                  how it went is written to tests/long/last_run.txt (--log FILE)
    run_tests.py --format | --tidy                rewrite the sources; run clang-tidy

The last line is 'N passed, N failed'. A test case is a GoogleTest case, or a ctest entry that is not GoogleTest,
or one fuzzer; a case that runs in three builds counts three times.
"""
import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


class Count:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []  # skipped: (case, reason)
        self.log = []  # (name, result, seconds, what more there is to say)


def say(text):
    print(text, flush=True)


def run(*command, **options):
    say("$ " + " ".join(str(c) for c in command))
    return subprocess.run([str(c) for c in command], cwd=TOP, stdin=subprocess.DEVNULL, **options).returncode == 0


def sources():
    return sorted(str(p.relative_to(TOP)) for folder in ("src", "tests", "fuzz", "examples", "bench")
                  for p in (TOP / folder).rglob("*") if p.suffix in (".h", ".cc"))


def build(preset, target, jobs, *options):
    return (run("cmake", "--preset", preset, "--log-level=WARNING", *options)
            and run("cmake", "--build", "--preset", preset, "--parallel", jobs, "--target", target))


def noteworthy(output):
    """Why a script skipped itself, else the figures that a test printed, indented by two."""
    said = re.findall(r"^skipped: .*$", output, re.MULTILINE)[-1:] or re.findall(r"^  (\S.*)$", output, re.MULTILINE)[:3]
    return "; ".join(said)


def ctest(preset, jobs, count, *selection):
    """Runs ctest and counts, from its JUnit file and the XML that each GoogleTest program leaves."""
    build_dir = TOP / "build" / preset
    shutil.rmtree(build_dir / "test-results", ignore_errors=True)
    junit = build_dir / "ctest.xml"
    junit.unlink(missing_ok=True)
    ok = run("ctest", "--test-dir", build_dir, "--output-on-failure", "--no-tests=ignore", "--parallel", jobs,
             "--output-junit", junit, *selection)
    entries = ET.parse(junit).getroot().iter("testcase") if junit.exists() else []
    for entry in entries:
        name, status = entry.get("name"), entry.get("status")
        # A script that ended with 77. (A missing executable has <skipped> too.)
        skip = entry.find("skipped")
        skipped_itself = status != "run" and skip is not None and skip.get("message", "").startswith("SKIP_")
        count.log.append((name, "skipped" if skipped_itself else "passed" if status == "run" else "FAILED",
                          float(entry.get("time") or 0), noteworthy(entry.findtext("system-out") or "")))
        results = build_dir / "test-results" / f"{name}.xml"
        n_failed = len(count.failed)
        if results.exists():
            for case in ET.parse(results).getroot().iter("testcase"):
                full = f"{case.get('classname')}.{case.get('name')}"
                skipped = case.find("skipped")
                if skipped is not None or case.get("result") == "skipped":
                    message = (skipped.get("message") or "") if skipped is not None else ""
                    count.skipped.append((full, " ".join(message.split("\n")[1:]).strip() or "no reason given"))
                elif case.find("failure") is not None:
                    count.failed.append(f"{preset}: {full}")
                elif case.get("status") == "run":
                    count.passed += 1
        elif status == "run":
            count.passed += 1
        elif skipped_itself:  # its last 'skipped: …' line says why
            said = re.findall(r"^skipped: (.*)$", entry.findtext("system-out") or "", re.MULTILINE)
            count.skipped.append((name, said[-1] if said else "no reason given"))
            continue
        # A crash, a timeout or a sanitizer's exit leaves no failed case behind.
        if status != "run" and len(count.failed) == n_failed:
            count.failed.append(f"{preset}: {name} ({status})")
    if not ok and not count.failed:
        count.failed.append(f"{preset}: ctest")


def stage_format(args, count):
    if not shutil.which("clang-format-19"):
        count.skipped.append(("format", "clang-format-19 is not installed"))
        return
    check = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *sources()], cwd=TOP, capture_output=True, text=True)
    if check.returncode == 0:
        count.passed += 1
    else:
        files = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", check.stderr, re.M)))
        say("\n".join(files) or check.stderr)
        count.failed.append(f"format: {len(files)} files (make format mends them)")


def run_quietly(*command):
    return subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL).returncode == 0


def stage_release(args, count):
    if build("release", "all", args.jobs, "-DUNICORN_TESTS=ON"):
        ctest("release", args.jobs, count, "-LE", "^(long|real)$")
    else:
        count.failed.append("release: build")


@functools.cache
def has_libfuzzer():
    if not shutil.which("clang++-19"):
        return False
    program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
    return subprocess.run(["clang++-19", "-fsanitize=fuzzer,address", "-x", "c++", "-", "-o", "/dev/null"],
                          input=program, text=True, capture_output=True).returncode == 0


def sanitized_tests(preset, label, args, count):
    if build(preset, f"tests_{label}", args.jobs, "-DUNICORN_TESTS=ON"):
        ctest(preset, args.jobs, count, "-L", f"^{label}$", "-LE", "^(long|real)$")
    else:
        count.failed.append(f"{preset}: build")


def stage_asan(args, count):
    sanitized_tests("dev", "unit", args, count)


def stage_tsan(args, count):
    sanitized_tests("tsan", "threads", args, count)


def stage_fuzz(args, count):
    if not has_libfuzzer():
        reason = "clang-19 with libFuzzer (clang-19, libclang-rt-19-dev) is not installed"
        count.skipped.append(("fuzz", reason))
        count.log.append(("fuzz", "skipped", 0, reason))
        return
    if not build("fuzz", "fuzzers", args.jobs, "-DUNICORN_TESTS=ON"):
        count.failed.append("fuzz: build")
        return

    def fuzz(program):
        name = program.name.removeprefix("fuzz_")
        work = TOP / "build/fuzz/corpus" / name  # what it finds stays out of the tree
        crashes = TOP / "build/fuzz/crashes" / name
        work.mkdir(parents=True, exist_ok=True)
        crashes.mkdir(parents=True, exist_ok=True)
        seeds = TOP / "fuzz/corpus" / name
        command = [program, work] + ([seeds] if seeds.is_dir() else []) + [
            f"-max_total_time={args.fuzz_seconds}", "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={crashes}/",
            "-print_final_stats=1"]
        done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace")
        return name, crashes, done

    programs = sorted(p for p in (TOP / "build/fuzz/fuzz").glob("fuzz_*") if os.access(p, os.X_OK))
    with ThreadPoolExecutor(args.jobs) as pool:
        for name, crashes, done in pool.map(fuzz, programs):
            runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
            count.log.append((f"fuzz {name}", "passed" if done.returncode == 0 else "FAILED", args.fuzz_seconds,
                              f"{runs.group(1) if runs else '?'} inputs"))
            say(f"fuzz {name}: {runs.group(1) if runs else '?'} inputs in {args.fuzz_seconds} s, "
                + ("none failed" if done.returncode == 0 else f"FAILED, see {crashes.relative_to(TOP)}"))
            if done.returncode == 0:
                count.passed += 1
            else:
                say("\n".join(done.stderr.splitlines()[-40:]))
                count.failed.append(f"fuzz: {name}")


def stage_long(args, count):
    if args.soak_seconds:
        os.environ["UNICORN_SOAK_SECONDS"] = str(args.soak_seconds)
    if build("release", "all", args.jobs, "-DUNICORN_TESTS=ON"):
        ctest("release", args.jobs, count, "-L", "^long$", *(["-R", args.only] if args.only else []))
        if not count.log:
            count.failed.append(f"long: no test is named like '{args.only}'")
    else:
        count.failed.append("release: build")


def output_of(*command):
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def cpu_name():
    try:
        return re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE).group(1)
    except (OSError, AttributeError):
        return "unknown"


def write_log(path, args, count, commit):
    """Short, for a person; a run that is stopped leaves the previous one."""
    lines = ["The last run of make test-long (scripts/run_tests.py --long).", "",
             f"date     {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}",
             f"commit   {commit}",
             f"cpu      {cpu_name()}, {os.cpu_count()} threads",
             f"soak     {args.soak_seconds or 300} s",
             f"fuzzing  {args.fuzz_seconds} s each"]
    if args.only:
        lines.append(f"only     tests named like '{args.only}', and the fuzzers")
    lines.append("")
    lines += [f"{name:<28} {result:<8} {seconds:8.1f} s  {more}".rstrip() for name, result, seconds, more in count.log]
    if count.failed:
        lines += ["", *(f"FAILED   {case}" for case in count.failed)]
    lines += ["", f"{count.passed} passed, {len(count.failed)} failed, {len(count.skipped)} skipped", ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines))
    temporary.replace(path)
    say(f"\nlog: {path}")


STAGES = {"format": stage_format, "release": stage_release, "asan": stage_asan, "fuzz": stage_fuzz, "tsan": stage_tsan}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--fuzz-seconds", type=int, help="default: 60; with --long 600")
    parser.add_argument("--soak-seconds", type=int, help="default: 300")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", metavar="REGEX", help="of the long tests, those named so")
    parser.add_argument("--log", type=Path, default=TOP / "tests/long/last_run.txt")
    parser.add_argument("--stage", action="append", choices=STAGES)
    parser.add_argument("--label")
    parser.add_argument("--format", action="store_true")
    parser.add_argument("--tidy", action="store_true")
    args = parser.parse_args()
    if args.fuzz_seconds is None:
        args.fuzz_seconds = 600 if args.long else 60

    if args.format:
        return 0 if run_quietly("clang-format-19", "-i", *sources()) else 1
    if args.tidy:
        files = [f for f in sources() if f.endswith(".cc") and not f.startswith("fuzz/")]
        return 0 if run_quietly("run-clang-tidy-19", "-quiet", "-j", str(args.jobs), "-p", "build/tidy", *files) else 1

    count, times = Count(), []
    commit = output_of("git", "describe", "--always", "--dirty")  # before anything runs: what is built
    if args.long:
        stages = {"long": stage_long, "fuzz": stage_fuzz}
    elif args.label:
        stages = {f"label {args.label}": lambda a, c: (
            ctest("release", a.jobs, c, "-L", f"^{a.label}$") if build("release", "all", a.jobs, "-DUNICORN_TESTS=ON")
            else c.failed.append("release: build"))}
    else:
        stages = {name: STAGES[name] for name in args.stage or STAGES}
    for name, stage in stages.items():
        say(f"\n== {name}")
        start, before = time.monotonic(), (count.passed, len(count.failed), len(count.skipped))
        stage(args, count)
        times.append((name, time.monotonic() - start, count.passed - before[0], len(count.failed) - before[1],
                      len(count.skipped) - before[2]))

    if args.long:
        write_log(args.log, args, count, commit)
    say("\n== summary")
    for case, reason in dict.fromkeys(count.skipped):
        say(f"skipped  {case}: {reason}")
    for case in count.failed:
        say(f"FAILED   {case}")
    for name, seconds, passed, failed, skipped in times:
        say(f"{name:<12} {seconds:7.1f} s  {passed:5} passed {failed:4} failed {skipped:4} skipped")
    say(f"{'total':<12} {sum(t[1] for t in times):7.1f} s")
    say(f"{count.passed} passed, {len(count.failed)} failed")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
