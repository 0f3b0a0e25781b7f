"""What the tests of the command line share: running the real binary, and telling run_tests.py how each case went."""
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
import xml.etree.ElementTree as ET
from pathlib import Path

BINARY = os.environ.get("UNICORN_BINARY", "")
DEMO = Path(os.environ.get("UNICORN_DEMO_MODEL", ""))
# Seconds after which something that should have happened has not: generous, for sanitizers on a busy machine.
PATIENCE = 120


class Finished:
    def __init__(self, process, out, err):
        self.code, self.out, self.err = process.returncode, out, err

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.out[:2000]}\n--- stderr\n{self.err[:2000]}"


def unicorn(*args, stdin="", env=None, cwd=None, **options):
    """Runs the binary to its end. stdin is a text (empty: an empty pipe)."""
    process = subprocess.Popen([BINARY, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, **(env or {})}, cwd=cwd, **options)
    out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, timeout=PATIENCE)
    return Finished(process, out.decode(errors="replace"), err.decode(errors="replace"))


class CliTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="unicorn-cli-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def ok(self, *args, **options):
        done = unicorn(*args, **options)
        self.assertEqual(done.code, 0, done)
        return done

    def json(self, *args, **options):
        """Runs with --json; stdout must be one JSON object, and nothing else."""
        done = self.ok(*args, "--json", **options)
        self.assertEqual(done.out.count("\n"), 1, done)
        self.assertTrue(done.out.endswith("\n"), done)

        def no_constant(name):
            raise AssertionError(f"{name} is not JSON")
        return json.loads(done.out, parse_constant=no_constant)

    def refused(self, code, message, *args, **options):
        """The command ends with `code`, prints nothing on stdout and one line 'unicorn: …' that matches on stderr."""
        done = unicorn(*args, **options)
        self.assertEqual(done.code, code, done)
        self.assertEqual(done.out, "", done)
        lines = [l for l in done.err.splitlines() if l.startswith("unicorn: ") and "no model was named" not in l]
        self.assertEqual(len(lines), 1, done)
        self.assertRegex(lines[0], message)
        return done


class Terminal:
    """The binary on a pseudo-terminal (`shell`: started from a shell on it), with what was printed so far in `text`."""

    def __init__(self, *args, env=None, columns=100, shell=False):
        self.text = ""
        self.raw = b""
        self.seen = 0
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update({"TERM": "xterm", "NO_COLOR": "1", **(env or {})})
            command = [BINARY, *map(str, args)]
            if shell:
                os.environ["PS1"] = "$ "
                os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
            os.execv(BINARY, command)
        self.pid = pid
        self.status = None
        if shell:
            self.type(shlex.join([BINARY, *map(str, args)]) + "\n")
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def pump(self, seconds):
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            return False
        self.raw += data
        self.text = self.raw.decode(errors="replace")
        return bool(data)

    def expect(self, pattern, seconds=PATIENCE):
        """Waits until `pattern` appears after what earlier calls have found."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text[self.seen:])
            if found:
                self.seen += found.end()
                return found
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not appear after {self.text[self.seen:]!r}")
            self.pump(0.1)

    def until(self, condition, what, seconds=PATIENCE):
        """Waits until `condition()` holds; what is printed meanwhile is kept."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"not {what}; printed {self.text[-500:]!r}")
            self.pump(0.01)

    def expect_prompt(self):
        """A prompt is drawn before the terminal passes on each key as it is typed: waits for both."""
        self.expect("> ")
        self.until(self.reads_keys, "reading keys")

    def reads_keys(self):
        return not termios.tcgetattr(self.fd)[3] & termios.ICANON

    def type(self, text):
        os.write(self.fd, text.encode() if isinstance(text, str) else text)

    def alive(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def wait(self, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                raise AssertionError(f"still running; printed {self.text[-500:]!r}")
            self.pump(0.05)
        while self.pump(0):
            pass
        return self.status

    def close(self):
        if self.alive():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class _Result(unittest.TextTestResult):
    """Notes each case for the XML that scripts/run_tests.py counts from (as GoogleTest writes it)."""

    def __init__(self, *args):
        super().__init__(*args)
        self.cases = []

    def _note(self, test, kind=None, message=""):
        name = test.id().split(".")
        case = ET.Element("testcase", classname=name[-2], name=name[-1], status="run", result="completed")
        if kind:
            ET.SubElement(case, kind, message=re.sub(r"[^\t\n -~]", "?", message))  # XML takes no control characters
            case.set("result", "skipped" if kind == "skipped" else "completed")
        self.cases.append(case)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "failure", str(err[1]))

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "failure", str(err[1]))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None and all(case.get("name") != test.id().split(".")[-1] for case in self.cases):
            self._note(test, "failure", str(err[1]))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped", "\n" + reason)


def main():
    if not os.access(BINARY, os.X_OK):
        sys.exit("UNICORN_BINARY must name the program to test")
    runner = unittest.TextTestRunner(verbosity=2, resultclass=_Result)
    result = unittest.main(testRunner=runner, exit=False).result
    target = os.environ.get("GTEST_OUTPUT", "").removeprefix("xml:")
    if target:
        suite = ET.Element("testsuite")
        suite.extend(result.cases)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        ET.ElementTree(suite).write(target)
    sys.exit(0 if result.wasSuccessful() else 1)
