#!/usr/bin/env python3
"""check_includes.py must fail on a bad include, naming file, line and rule, and pass on a good one."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import check_includes  # noqa: E402

HOUSE = ["core/result.h", "quant/q4_0.h", "plan/plan.h", "model/gemma3n.h", "text/tokenizer.h", "engine/engine.h",
         "backends/registry.h", "backends/cpu/cpu.h", "backends/cpu/tools.h", "backends/reference/reference.h",
         "tools/bench.h"]


class CheckIncludes(unittest.TestCase):
    def problems(self, name, text):
        with tempfile.TemporaryDirectory() as top:
            for header in HOUSE:
                path = Path(top, "src", header)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("#pragma once\n")
            path = Path(top, "src", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return check_includes.check(top)[0]

    def accepts(self, name, *headers):
        self.assertEqual(self.problems(name, "".join(f'#include "{h}"\n' for h in headers)), [])

    def rejects(self, name, header, rule):
        problems = self.problems(name, f'// first line\n#include "{header}"\n')
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(f"src/{name}:2:", problems[0])
        self.assertIn(header, problems[0])
        self.assertIn(rule, problems[0])

    def test_going_down_is_allowed(self):
        self.accepts("model/a.cc", "core/result.h", "quant/q4_0.h", "plan/plan.h", "model/gemma3n.h")
        self.accepts("engine/a.cc", "model/gemma3n.h", "backends/registry.h")
        self.accepts("tools/a.cc", "engine/engine.h", "backends/registry.h", "backends/cpu/tools.h")
        self.accepts("backends/registry.cc", "backends/cpu/cpu.h", "backends/reference/reference.h")
        self.accepts("backends/cpu/isa/a.cc", "backends/cpu/cpu.h", "plan/plan.h")
        self.accepts("cli/a.cc", "tools/bench.h", "engine/engine.h")

    def test_going_up_is_rejected(self):
        self.rejects("core/a.cc", "quant/q4_0.h", "core may include: nothing of ours")
        self.rejects("quant/a.h", "plan/plan.h", "quant may include: core")
        self.rejects("plan/a.h", "model/gemma3n.h", "plan may include")
        self.rejects("engine/a.cc", "tools/bench.h", "engine may include")

    def test_rooms_of_one_floor_do_not_know_each_other(self):
        self.rejects("quant/a.cc", "text/tokenizer.h", "quant may include: core")
        self.rejects("model/a.cc", "backends/registry.h", "model may include")
        self.rejects("backends/cpu/a.cc", "backends/reference/reference.h", "backends/X may include")
        self.rejects("backends/cpu/a.cc", "backends/registry.h", "backends/X may include")

    def test_a_backend_shows_one_header_only(self):
        self.rejects("engine/a.cc", "backends/cpu/cpu.h", "engine may include")
        self.rejects("tools/a.cc", "backends/cpu/cpu.h", "tools may include")
        self.rejects("cli/a.cc", "backends/registry.h", "cli may include")
        self.rejects("cli/a.cc", "backends/cpu/tools.h", "cli may include")

    def test_an_unknown_folder_or_file_is_rejected(self):
        self.rejects("core/a.cc", "core/missing.h", "no such file")
        self.assertIn("no row", self.problems("attic/a.cc", "")[0])
        self.assertIn('included with "…"', self.problems("core/a.cc", "#include <core/result.h>\n")[0])

    def test_link_lists_are_held_to_the_same_table(self):
        self.assertEqual(self.problems("engine/CMakeLists.txt", "unicorn_library(engine SOURCES a.cc DEPS core backends)"), [])
        bad = self.problems("quant/CMakeLists.txt", "\nunicorn_library(quant\n  SOURCES a.cc\n  DEPS core plan)")
        self.assertEqual(len(bad), 1)
        self.assertIn("src/quant/CMakeLists.txt:2: DEPS plan: quant may include: core", bad[0])


if __name__ == "__main__":
    unittest.main()
