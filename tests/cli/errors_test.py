#!/usr/bin/env python3
"""What happens when something is wrong: exit codes, messages, files that must not be left behind, Ctrl-C."""
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import unittest

import support
from support import BINARY, DEMO, PATIENCE, CliTest, unicorn


class Usage(CliTest):
    """Exit code 2, before any model is loaded."""

    def test_commands(self):
        self.refused(2, "'rum' is not a command; did you mean 'run'", "rum")
        self.refused(2, "'frobnicate' is not a command", "frobnicate")
        self.refused(2, "is not a command", "help", "nothing")
        self.assertEqual(unicorn().code, 2)
        self.assertIn("Commands:", unicorn().out)

    def test_flags(self):
        self.refused(2, "unknown option '--tmep'; did you mean --temp", "run", "--tmep", "0", "--prompt", "x")
        self.refused(2, "unknown option '--frobnicate'", "bench", "--frobnicate=3")
        self.refused(2, "unknown option '-z'", "score", "-z")
        self.refused(2, r"unexpected argument 'two'.*--prompt", "run", "one", "two")
        self.refused(2, "--temp", "run", "--prompt", "x", "--temp")
        self.refused(2, "--temp", "run", "--prompt", "x", "--temp", "1", "--temp", "2")
        self.refused(2, "DIR_B", "compare", "a")

    def test_numbers(self):
        for option, values in {
                "--temp": ("nan", "-nan", "inf", "-1", "x", "", "1e999", "0x1p3", "1,5"),
                "--top-p": ("1.5", "-0.1", "nan"),
                "--min-p": ("2", "-inf"),
                "--repetition-penalty": ("0", "-1", "nan"),
                "-n": ("-1", "-5", "1.5", "99999999999", "ten", "1e3", " 5"),
                "--top-k": ("-1", "4294967296"),
                "--seed": ("-1", "18446744073709551616"),
                "--threads": ("0", "-2", "100000"),
                "--ctx": ("0", "-1", "99999999999"),
                "--logit-bias": ("5", "5=nan", "5=inf", "x=1", "-1=2", "=2"),
        }.items():
            for value in values:
                with self.subTest(option=option, value=value):
                    self.refused(2, {"-n": "--max-tokens", "--temp": "--temperature"}.get(option, option), "run", "--prompt", "x", option, value)

    def test_words(self):
        self.refused(2, "--weights: 'q8' is not one of .*; did you mean q8_0", "run", "--prompt", "x", "--weights", "q8")
        self.refused(2, "--kv: 'q4_0' is not one of", "run", "--prompt", "x", "--kv", "q4_0")
        self.refused(2, "--precision", "run", "--prompt", "x", "--precision", "f64")
        self.refused(2, "--format", "bench", "--format", "xml")

    def test_ids(self):
        for ids in ("", "-1", "1,-2", "1,,2", "1,", "a", "1.5", "99999999999", "[]", "1;2"):
            with self.subTest(ids=ids):
                self.refused(2, "--ids", "score", f"--ids={ids}")
                self.refused(2, "--ids", "run", "--ids", ids)

    def test_prompts(self):
        self.refused(2, "is empty", "run")
        self.refused(2, "is empty", "run", stdin="\n")
        self.refused(2, "prompt is empty", "run", "--prompt", "")
        self.refused(2, "--ids", "run", "--prompt", "x", "--ids", "1")
        self.refused(2, "--prompt", "run", "--prompt", "x", "--prompt-file", "y")
        self.refused(2, "--chat", "run", "--chat", "--ids", "1")
        self.refused(2, "--chat", "run", "--system", "S", "--prompt", "x")
        self.refused(2, "no text", "perplexity")
        self.refused(2, "--stop", "run", "--prompt", "x", "--stop", "")

    def test_no_prompt_on_a_terminal_says_what_to_do(self):
        terminal = support.Terminal("run")
        self.addCleanup(terminal.close)
        terminal.expect("no prompt: give one with --prompt")
        self.assertEqual(terminal.wait(), 2)

    def test_lists(self):
        for value in ("", "-1", "x", "1,,2", "99999999999"):
            self.refused(2, "--prefill", "bench", f"--prefill={value}")
        self.refused(2, "--reps", "bench", "--reps", "0")
        self.refused(2, "--dump-tensors", "score", "--ids", "1", "--dump-dir", "d", "--dump-tensors", "colour=red")
        self.refused(2, "--dump-tensors", "score", "--ids", "1", "--dump-tensors", "layer=1")


class Failures(CliTest):
    """Exit code 1, with the thing that is wrong named."""

    def test_missing_files(self):
        for command in (["run", "--prompt", "x"], ["score", "--ids", "1"], ["perplexity", "--ids", "1"], ["bench"], ["inspect"],
                        ["tokenize", "--text", "x"], ["chat"]):
            with self.subTest(command=command):
                self.refused(1, "no model 'nowhere/none.gguf'", command[0], "nowhere/none.gguf", *command[1:])
        self.refused(1, "gone.txt", "run", "--prompt-file", "gone.txt")
        self.refused(1, "gone.txt", "run", "--ids", "@gone.txt")
        self.refused(1, "gone.txt", "perplexity", "-f", "gone.txt")
        # Ids are read before the model is: a missing one is not yet missed.
        self.refused(1, "'x'", "perplexity", "gone.gguf", "--ids", "1,x")
        self.refused(1, "gone.ids", "perplexity", "gone.gguf", "--ids", "@gone.ids")
        self.refused(1, "gone.txt", "tokenize", "-f", "gone.txt")
        self.refused(1, "gone", "compare", "gone", "gone")
        self.refused(1, "folder", "tokenize", "-f", self.folder)

    def test_a_missing_demo_is_told(self):
        self.refused(1, "UNICORN_DEMO_MODEL", "run", "--prompt", "x", env={"UNICORN_DEMO_MODEL": "/nowhere"})

    def test_files_that_are_no_models(self):
        for name, content in {
                "empty.gguf": b"",
                "short.gguf": b"GGUF",
                "text.gguf": b"hello" * 100,
                "huge-counts.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
                "version.gguf": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
                "empty.safetensors": b"",
                "long-header.safetensors": struct.pack("<Q", 1 << 62) + b"{}",
                "bad-json.safetensors": struct.pack("<Q", 4) + b"{{{{",
        }.items():
            path = self.file(name, content)
            for command in (["run", "--prompt", "x"], ["inspect"]):
                with self.subTest(name=name, command=command[0]):
                    self.refused(1, "empty|gguf|GGUF|safetensors|config", command[0], path, *command[1:])
        self.refused(1, "tokenizer", "tokenize", self.file("tokenizer.json", "{}"), "--text", "x")
        self.refused(1, "no model|nothing|holds", "run", self.folder, "--prompt", "x")

    def test_a_truncated_model_names_the_file(self):
        folder = self.folder / "model"
        shutil.copytree(DEMO, folder)
        os.truncate(folder / "model-00002-of-00003.safetensors", 1_000_000)
        self.refused(1, "model-00002-of-00003.safetensors", "run", folder, "--prompt", "x")
        (folder / "model-00002-of-00003.safetensors").unlink()
        self.refused(1, "model-00002-of-00003.safetensors", "run", folder, "--prompt", "x")

    def test_a_bad_config_names_the_field(self):
        folder = self.folder / "model"
        shutil.copytree(DEMO, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "head_dim": 0}))
        self.refused(1, "head_dim", "run", folder, "--prompt", "x")
        (folder / "config.json").write_text("{")
        self.refused(1, "config.json", "run", folder, "--prompt", "x")

    def test_a_model_without_a_tokenizer_takes_ids(self):
        folder = self.folder / "model"
        shutil.copytree(DEMO, folder)
        (folder / "tokenizer.json").unlink()
        self.refused(1, "tokenizer", "run", folder, "--prompt", "x")
        self.refused(1, "tokenizer", "chat", folder)
        self.refused(1, "tokenize|no", "tokenize", folder, "--text", "x")
        self.refused(1, "--ids", "perplexity", folder, "-f", self.file("t", "text"))
        self.refused(1, "--bos", "perplexity", folder, "--ids", "5,6")
        self.assertEqual(self.json("perplexity", folder, "--ids", "5,6", "--bos", 2)["tokens"], 2)
        got = self.json("run", folder, "--ids", "2,3,4", "-n", 4, "--temp", 0, "--ignore-eos")
        self.assertEqual((len(got["ids"]), got["text"]), (4, ""))
        self.assertEqual(self.ok("run", folder, "--ids", "2,3,4", "-n", 4, "--temp", 0, "--ignore-eos").out.split(), list(map(str, got["ids"])))
        self.assertEqual(len(self.json("score", folder, "--ids", "2,3")["logprobs"]), 2)
        self.ok("score", folder, "--ids", "2,3")

    def test_ids_outside_the_vocabulary(self):
        self.refused(1, "8256", "score", "--ids", "2,8256")
        self.refused(1, "vocabulary", "run", "--ids", "2147483647")
        self.refused(1, "vocabulary|logit", "run", "--prompt", "x", "--logit-bias", "99999=1")
        self.assertEqual(self.json("score", "--ids", "8255")["ids"], [8255])

    def test_prompts_beyond_the_context(self):
        self.refused(1, "--ctx", "run", "--ids", ",".join(["5"] * 40), "--ctx", "32")
        self.refused(1, "--ctx", "score", "--ids", ",".join(["5"] * 40), "--ctx", "32")
        self.refused(1, "--ctx", "bench", "--prefill", "64", "--decode", "0", "--ctx", "32")
        self.refused(1, "context", "perplexity", "--ids", "5,6", "--ctx", "1")

    def test_options_the_model_cannot_follow(self):
        self.refused(1, "slice|ffn|banana", "run", "--prompt", "x", "--slice", "banana")
        self.refused(1, "warp", "run", "--prompt", "x", "--device", "warp")
        self.refused(1, "memory", "run", "--prompt", "x", "--ctx", str(1 << 30))

    def test_paths_that_cannot_be_written(self):
        started = time.monotonic()
        self.refused(1, "no/such/folder", "score", "--ids", "1", "--logits", self.folder / "no/such/folder/x.npy")
        self.refused(1, "regular file", "score", "--ids", "1", "--logits", self.folder)
        self.refused(1, "regular file", "score", "--ids", "1", "--logits", "/dev/null")
        self.assertLess(time.monotonic() - started, PATIENCE)
        self.refused(1, "cannot create", "score", "--ids", "1", "--dump-dir", self.file("file", "x"))
        self.refused(1, "no step", "score", "--ids", "1", "--dump-dir", self.folder / "d", "--dump-tensors", "layer=99")

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_a_folder_without_permission(self):
        self.folder.chmod(0o500)
        self.refused(1, "Permission denied", "score", "--ids", "1", "--logits", self.folder / "x.npy")

    def test_a_failed_score_leaves_no_file_and_keeps_the_old_one(self):
        path = self.file("logits.npy", "old")
        self.refused(1, "8256", "score", "--ids", "2,8256", "--logits", path)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["logits.npy"])
        self.assertEqual(path.read_text(), "old")

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full here")
    def test_a_full_disk_behind_stdout(self):
        for args in (["run", "--prompt", "Hello", "--json", "-n", "4"], ["run", "--prompt", "Hello", "-n", "4"], ["inspect"], ["--help"]):
            with self.subTest(args=args), open("/dev/full", "wb") as full:
                process = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
                self.assertEqual(process.returncode, 1, process.stderr)
                self.assertIn(b"standard output", process.stderr)

    def test_compare_reads_only_dumps(self):
        (self.folder / "a").mkdir()
        (self.folder / "a/0.npy").write_text("junk")
        self.refused(1, "0.npy: not a .npy file", "compare", self.folder / "a", self.folder / "a")


class Interrupts(CliTest):
    def start(self, *args):
        process = subprocess.Popen([BINARY, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        return process

    def test_ctrl_c_stops_a_run_and_what_there_is_stays(self):
        process = self.start("run", "--prompt", "Hello", "--ignore-eos", "-n", 100000)
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 130, err)
        self.assertTrue((first + out).endswith(b"\n"))
        self.assertIn(b"| cancelled", err)

    def test_ctrl_c_with_json_still_prints_json(self):
        process = self.start("run", "--prompt", "Hello", "--ignore-eos", "-n", 4000, "--json", "--device", "reference")
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        if process.returncode == 130 and not out:  # it was still loading
            self.assertIn(b"interrupted", err)
            return
        self.assertEqual(process.returncode, 130, err)
        self.assertEqual(json.loads(out)["finish"], "cancelled")

    def test_ctrl_c_ends_everything_else(self):
        ids = self.file("ids", " ".join(["2"] + ["5684"] * 4000))
        for args in (["score", "--ids", f"@{ids}", "--device", "reference", "--logits", self.folder / "x.npy"],
                     ["perplexity", "--ids", f"@{ids}", "--device", "reference"],
                     ["bench", "--prefill", "4000", "--device", "reference"]):
            with self.subTest(args=args[0]):
                process = self.start(*args)
                time.sleep(1)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, 130, err)
                self.assertEqual(out, b"")
                self.assertIn(b"interrupted", err)
                self.assertEqual([p.name for p in self.folder.iterdir()], ["ids"])

    def test_a_background_job_ignores_it(self):
        process = subprocess.Popen([BINARY, "run", "--prompt", "Hello", "-n", "8"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.addCleanup(process.kill)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, err)


if __name__ == "__main__":
    support.main()
