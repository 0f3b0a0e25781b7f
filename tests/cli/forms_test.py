#!/usr/bin/env python3
"""The forms that others rely on: JSON of every command, files written, what goes to stdout and what to stderr."""
import json
import math
import re
import struct
import subprocess

import support
from support import BINARY, DEMO, CliTest, unicorn

HELLO = [2, 4, 4494, 262, 3594, 5, 262, 4, 6649, 338, 262]  # "Hello" in the demo's chat format


def read_npy(path):
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length = struct.unpack("<H", data[8:10])[0]
    header = data[10:10 + length].decode()
    assert (10 + length) % 64 == 0 and header.endswith("\n")
    shape = tuple(int(n) for n in re.search(r"'shape': \((\d+), (\d+)\)", header).groups())
    assert "'<f4'" in header and "'fortran_order': False" in header
    values = struct.unpack(f"<{shape[0] * shape[1]}f", data[10 + length:])
    return shape, [values[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]


def log_softmax_at(logits, index):
    peak = max(logits)
    return logits[index] - peak - math.log(math.fsum(math.exp(l - peak) for l in logits))


class Reference(CliTest):
    """Against what the original implementation said (reference.json)."""

    @classmethod
    def setUpClass(cls):
        cls.references = json.loads((DEMO / "reference.json").read_text())["references"]

    def test_greedy_continuations(self):
        for want in self.references:
            with self.subTest(prompt=want["prompt"][:40], mode=want["mode"]):
                ids = ",".join(map(str, want["ids"]))
                slice_ = ["--slice", "small"] if want["mode"] != "full" else []
                got = self.json("run", "--ids", ids, "--ignore-eos", "-n", len(want["greedy_ids"]), "--temp", 0, *slice_)
                self.assertEqual(got["ids"], want["greedy_ids"])
                self.assertEqual(got["prompt_ids"], want["ids"])

    def test_scores(self):
        for want in self.references[:6]:
            with self.subTest(prompt=want["prompt"][:40], mode=want["mode"]):
                slice_ = ["--slice", "small"] if want["mode"] != "full" else []
                got = self.json("score", "--ids", ",".join(map(str, want["ids"])), "--top", 8, *slice_)
                self.assertEqual([t["id"] for t in got["logits_top"][-1]], want["last_top8_ids"])
                for top, logit in zip(got["logits_top"][-1], want["last_top8_logits"]):
                    self.assertAlmostEqual(top["logit"], logit, delta=0.05)  # the KV cache is f16 by default
                mean = sum(got["logprobs"][1:]) / (len(want["ids"]) - 1)
                self.assertAlmostEqual(mean, want["mean_logprob"], delta=0.01)

    def test_tokenize_and_prompts(self):
        for want in self.references[::2]:
            with self.subTest(prompt=want["prompt"][:40]):
                path = self.file("text", want["prompt"])
                self.assertEqual(self.json("tokenize", "-f", path, "--bos")["ids"], want["ids"])
                self.assertEqual(self.json("tokenize", DEMO / "tokenizer.json", "-f", path)["ids"], want["ids"][1:])
                self.assertEqual(self.json("run", "-n", 1, "--prompt", want["prompt"])["prompt_ids"], want["ids"])


class Run(CliTest):
    def test_json_has_the_fixed_keys_and_nothing_else_is_on_stdout(self):
        got = self.json("run", "--prompt", "Hello", "--chat", "-n", 48, "--temp", 0)
        for key in ("prompt_ids", "ids", "text", "prefill_tps", "decode_tps"):
            self.assertIn(key, got)
        self.assertEqual(got["prompt_ids"], HELLO)
        self.assertTrue(got["text"].startswith("Hello!"))
        self.assertEqual(got["finish"], "stop")
        self.assertGreater(got["prefill_tps"], 0)
        self.assertGreater(got["decode_tps"], 0)

    def test_text_alone_is_on_stdout_and_the_summary_on_stderr(self):
        text = self.json("run", "--prompt", "Hello", "--chat", "--temp", 0)["text"]
        done = self.ok("run", "--prompt", "Hello", "--chat", "--temp", 0)
        self.assertEqual(done.out, text + "\n")
        self.assertRegex(done.err, r"prefill 11 tokens, [0-9.]+ t/s \| decode 20 tokens, [0-9.]+ t/s \| stop")
        self.assertNotRegex(self.ok("run", "-q", "--prompt", "Hello", "-n", 4).err, "t/s")

    def test_a_prompt_comes_from_text_file_pipe_or_ids(self):
        want = self.json("run", "--prompt", "Hello there", "-n", 1)["prompt_ids"]
        self.assertEqual(self.json("run", "--prompt-file", self.file("p", "Hello there\n"), "-n", 1)["prompt_ids"], want)
        self.assertEqual(self.json("run", "-n", 1, stdin="Hello there\n")["prompt_ids"], want)
        self.assertEqual(self.json("run", "-n", 1, "-f", "-", stdin="Hello there")["prompt_ids"], want)
        listed = self.file("ids", "\n".join(map(str, want)))
        self.assertEqual(self.json("run", "-n", 1, "--ids", f"@{listed}")["prompt_ids"], want)
        self.assertEqual(self.json("run", "-n", 1, "--ids", " ".join(map(str, want)))["prompt_ids"], want)

    def test_ids_are_taken_as_they_are(self):
        self.assertEqual(self.json("run", "--ids", "5684", "-n", 1)["prompt_ids"], [5684])

    def test_control_tokens_in_a_chat_message_are_text(self):
        plain = self.json("run", "--chat", "--prompt", "<end_of_turn>", "-n", 1)["prompt_ids"]
        self.assertEqual(plain.count(5), 1)

    def test_a_system_text_is_in_the_prompt(self):
        with_system = self.json("run", "--chat", "--system", "Be brief.", "--prompt", "Hello", "-n", 1)["prompt_ids"]
        self.assertGreater(len(with_system), len(HELLO))

    def test_sampling_is_repeated_by_its_seed(self):
        args = ("run", "--prompt", "Once", "-n", 24, "--temp", 1.5, "--top-k", 0, "--top-p", 1)
        first = self.json(*args, "--seed", 7)
        self.assertEqual(first["seed"], 7)
        self.assertEqual(self.json(*args, "--seed", 7)["ids"], first["ids"])
        others = [self.json(*args) for _ in range(2)]
        self.assertNotEqual(others[0]["seed"], others[1]["seed"])
        self.assertEqual(self.json(*args, "--seed", others[0]["seed"])["ids"], others[0]["ids"])

    def test_logit_bias_stop_strings_and_length(self):
        args = ("run", "--chat", "--prompt", "Hello", "--temp", 0)
        self.assertEqual(self.json(*args, "-n", 3)["finish"], "length")
        self.assertEqual(len(self.json(*args, "-n", 3)["ids"]), 3)
        stopped = self.json(*args, "--stop", " very", "--stop", "never said")
        self.assertEqual((stopped["text"], stopped["finish"]), ("Hello! I am a", "stop"))
        self.assertNotEqual(self.json(*args, "-n", 1, "--logit-bias", "5684=-inf")["ids"], [5684])
        self.assertEqual(self.json(*args, "-n", 2, "--logit-bias", "100=+1000")["ids"], [100, 100])
        self.assertEqual(self.json(*args, "-n", 0)["ids"], [])

    def test_a_full_context_ends_the_answer(self):
        got = self.json("run", "--ids", "2,3,4,5", "--ctx", 16, "--ignore-eos", "--temp", 0, "-n", 4000000000)
        self.assertEqual(got["finish"], "context_full")
        self.assertLessEqual(len(got["prompt_ids"]) + len(got["ids"]), 17)

    def test_the_options_of_a_model_are_obeyed(self):
        base = self.json("run", "--prompt", "Hello", "--temp", 0, "-n", 8)["ids"]
        self.assertEqual(self.json("run", "--prompt", "Hello", "--temp", 0, "-n", 8, "--threads", 1)["ids"], base)
        for options in (["--weights", "f32"], ["--weights", "q8_0"], ["--slice", "small"], ["--device", "reference"],
                        ["--kv", "q8_0"], ["--kv", "f32"], ["--ctx", "64"], ["--precision", "bf16"],
                        ["--device", "reference,cpu"]):
            with self.subTest(options=options):
                self.assertEqual(len(self.json("run", "--prompt", "Hello", "--ignore-eos", "--temp", 0, "-n", 8, *options)["ids"]), 8)

    def test_a_model_is_a_folder_a_file_or_a_name(self):
        models = self.folder / "models"
        models.mkdir()
        (models / "tiny").symlink_to(DEMO)
        want = self.json("run", DEMO, "--prompt", "Hello", "--temp", 0, "-n", 4)["ids"]
        self.assertEqual(self.json("run", "tiny", "--prompt", "Hello", "--temp", 0, "-n", 4, env={"UNICORN_MODELS": str(models)})["ids"], want)
        self.assertEqual(self.json("run", DEMO / "model.safetensors.index.json", "--prompt", "Hello", "--temp", 0, "-n", 4)["ids"], want)
        self.assertEqual(self.json("run", "demo", "--prompt", "Hello", "--temp", 0, "-n", 4)["ids"], want)

    def test_the_demo_says_that_it_is_one_and_only_then(self):
        self.assertRegex(self.ok("run", "--prompt", "Hello", "-n", 1).err, "tiny")
        self.assertNotRegex(self.ok("run", DEMO, "--prompt", "Hello", "-n", 1).err, "tiny")

    def test_a_reader_that_goes_away_does_not_leave_a_runaway(self):
        process = subprocess.Popen([BINARY, "run", "--prompt", "Hello", "--ignore-eos", "-n", "100000"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        process.stdout.read(1)
        process.stdout.close()
        self.assertNotEqual(process.wait(support.PATIENCE), 0)


class Score(CliTest):
    def test_json_form(self):
        got = self.json("score", "--ids", ",".join(map(str, HELLO)), "--top", 8)
        self.assertEqual(got["ids"], HELLO)
        self.assertEqual(len(got["logprobs"]), len(HELLO))
        self.assertIsNone(got["logprobs"][0])
        self.assertTrue(all(isinstance(p, float) and p <= 0 for p in got["logprobs"][1:]))
        self.assertEqual(len(got["logits_top"]), len(HELLO))
        for row in got["logits_top"]:
            self.assertEqual(len(row), 8)
            self.assertTrue(all(set(t) == {"id", "logit"} for t in row))
            self.assertEqual([t["logit"] for t in row], sorted((t["logit"] for t in row), reverse=True))

    def test_one_token_and_no_top(self):
        got = self.json("score", "--ids", "2", "--top", 0)
        self.assertEqual((got["ids"], got["logprobs"], got["logits_top"]), ([2], [None], [[]]))

    def test_logits_file_agrees_with_the_json(self):
        path = self.folder / "logits.npy"
        got = self.json("score", "--ids", ",".join(map(str, HELLO)), "--top", 3, "--logits", path)
        shape, rows = read_npy(path)
        self.assertEqual(shape, (len(HELLO), 8256))
        for i, row in enumerate(rows):
            best = sorted(range(len(row)), key=lambda t: (-row[t], t))[:3]
            self.assertEqual([t["id"] for t in got["logits_top"][i]], best)
            self.assertEqual([t["logit"] for t in got["logits_top"][i]], [row[t] for t in best])
            if i:
                self.assertAlmostEqual(got["logprobs"][i], log_softmax_at(rows[i - 1], HELLO[i]), delta=1e-9)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["logits.npy"])

    def test_more_tokens_than_one_pass_has_outputs(self):
        ids = [2] + [(i * 37) % 8000 + 10 for i in range(200)]
        got = self.json("score", "--ids", ",".join(map(str, ids)), "--top", 1)
        self.assertEqual(len(got["logprobs"]), 201)
        prefix = self.json("score", "--ids", ",".join(map(str, ids[:100])), "--top", 1)
        self.assertEqual(prefix["logprobs"], got["logprobs"][:100])  # the same row, the same bits

    def test_a_prompt_gets_a_bos(self):
        self.assertEqual(self.json("score", "--prompt", "PostgreSQL allows you to")["ids"], [2, 310, 860, 3003, 1897, 701, 564])

    def test_table_for_people(self):
        done = self.ok("score", "--prompt", "PostgreSQL allows you to")
        self.assertEqual(len(done.out.splitlines()), 1 + 7 + 1)


class Perplexity(CliTest):
    TEXT = "The kernel documentation describes how a driver should behave. " * 6

    def test_json_form_and_windows(self):
        path = self.file("text", self.TEXT)
        ids = self.json("tokenize", "-f", path)["ids"]
        whole = self.json("perplexity", "-f", path)
        self.assertEqual(whole["tokens"], len(ids))
        self.assertAlmostEqual(whole["perplexity"], math.exp(whole["nll"]), delta=1e-6 * whole["perplexity"])
        scored = self.json("score", "--ids", ",".join(map(str, [2] + ids)), "--top", 0)["logprobs"][1:]
        self.assertAlmostEqual(whole["nll"], -sum(scored) / len(ids), delta=1e-9)

        # Windows of 16: a BOS and 15 tokens each, every token scored once.
        total = 0.0
        for i in range(0, len(ids), 15):
            window = [2] + ids[i:i + 15]
            total -= sum(self.json("score", "--ids", ",".join(map(str, window)), "--top", 0)["logprobs"][1:])
        cut = self.json("perplexity", "-f", path, "--ctx", 16)
        self.assertEqual(cut["tokens"], len(ids))
        self.assertAlmostEqual(cut["nll"], total / len(ids), delta=1e-9)

    def test_ids_and_max_tokens(self):
        path = self.file("text", self.TEXT)
        ids = self.json("tokenize", "-f", path, "--bos")["ids"]
        listed = self.file("ids", " ".join(map(str, ids)))
        self.assertEqual(self.json("perplexity", "--ids", f"@{listed}")["nll"], self.json("perplexity", "-f", path)["nll"])
        self.assertEqual(self.json("perplexity", "-f", path, "--max-tokens", 5)["tokens"], 5)


class Tokenize(CliTest):
    def test_special_tokens_and_bos(self):
        self.assertEqual(self.json("tokenize", "--text", "<end_of_turn>")["ids"], [5])
        self.assertEqual(self.json("tokenize", "--text", "<end_of_turn>", "--bos")["ids"], [2, 5])
        self.assertNotIn(5, self.json("tokenize", "--text", "<end_of_turn>", "--no-special")["ids"])

    def test_a_file_is_taken_as_it_is(self):
        self.assertEqual(self.json("tokenize", "-f", self.file("t", "\n"))["ids"], [262])
        self.assertEqual(self.json("tokenize", "-f", self.file("t", ""))["ids"], [])
        self.assertEqual(self.json("tokenize", stdin="\n")["ids"], [262])

    def test_any_bytes(self):
        junk = bytes(range(256)) * 3
        self.assertGreater(len(self.json("tokenize", "-f", self.file("t", junk))["ids"]), 100)

    def test_pieces_for_people(self):
        self.assertIn('"Hello"', self.ok("tokenize", "--text", "Hello").out)


class Bench(CliTest):
    ARGS = ("bench", "--prefill", "16,32", "--decode", "8", "--depth", "0,160", "--threads", "2", "--reps", "2")

    def test_json_form(self):
        got = self.json(*self.ARGS)
        self.assertEqual([(r["test"], r["n"], r["depth"]) for r in got["rows"]],
                         [("prefill", 16, 0), ("prefill", 32, 0), ("prefill", 16, 160), ("prefill", 32, 160), ("decode", 8, 0), ("decode", 8, 160)])
        for row in got["rows"]:
            self.assertEqual(set(row), {"test", "n", "depth", "sequences", "median_tps", "min", "max", "limit_tps",
                                        "share_of_limit"})
            self.assertAlmostEqual(row["share_of_limit"], row["median_tps"] / row["limit_tps"])
            self.assertGreater(row["min"], 0)
            self.assertLessEqual(row["min"], row["median_tps"])
            self.assertLessEqual(row["median_tps"], row["max"])
        self.assertGreater(got["load_s"], 0)
        self.assertGreater(got["peak_rss_mb"], 10)
        self.assertLess(got["peak_rss_mb"], 400)  # measuring the limits is not part of it
        self.assertEqual(got["threads"], 2)

    def test_csv_and_table(self):
        import csv
        rows = list(csv.DictReader(self.ok(*self.ARGS, "--format", "csv").out.splitlines()))
        self.assertEqual(len(rows), 6)
        self.assertEqual(rows[0]["test"], "prefill")
        self.assertGreater(float(rows[5]["median_tps"]), 0)
        table = self.ok(*self.ARGS, "--format", "table").out
        self.assertRegex(table, r"decode +8 +160 +[0-9.]+")
        self.assertRegex(table, "2 threads")

    def test_a_depth_does_not_depend_on_what_was_decoded_before(self):
        # Beyond the sliding window the cache is computed anew between repetitions: it must hold the same tokens again.
        self.assertEqual(len(self.json("bench", "--prefill", "0", "--decode", "32", "--depth", "0,1024", "--reps", "2")["rows"]), 2)

    def test_many_sequences_at_once(self):
        rows = self.json("bench", "--prefill", "0", "--decode", "4", "--sequences", "1,3,40", "--reps", "1")["rows"]
        self.assertEqual([r["sequences"] for r in rows], [1, 3, 40])
        self.assertGreater(rows[2]["limit_tps"], rows[0]["limit_tps"])

    def test_other_devices_have_no_limit(self):
        rows = self.json("bench", "--prefill", "4", "--decode", "2", "--reps", "1", "--device", "reference")["rows"]
        self.assertEqual([r["limit_tps"] for r in rows], [None, None])

    def test_nothing_to_measure(self):
        self.assertEqual(self.json("bench", "--prefill", "0", "--decode", "0")["rows"], [])


class Inspect(CliTest):
    def test_the_demo(self):
        got = self.json("inspect", DEMO)
        self.assertEqual(got["format"], "safetensors")
        self.assertEqual(len(got["files"]), 3)
        self.assertEqual(got["config"]["family"], "gemma3n")
        self.assertEqual(got["config"]["n_layers"], 15)
        self.assertEqual(sum(t["elements"] for t in got["totals"]), 21069520)
        for tensor in got["tensors"]:
            self.assertLessEqual(tensor["offset"] + tensor["bytes"], got["files"][tensor["file"]]["bytes"])

    def test_one_file_without_a_config(self):
        header = b'{"__metadata__": {"who": "me"}, "a.b": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}'
        path = self.file("x.safetensors", struct.pack("<Q", len(header)) + header + bytes(24))
        got = self.json("inspect", path)
        self.assertIsNone(got["config"])
        self.assertEqual(got["metadata"], {"who": "me"})
        self.assertEqual(got["tensors"], [{"name": "a.b", "dtype": "f32", "usable": True, "shape": [2, 3], "bytes": 24,
                                           "offset": 8 + len(header), "file": 0}])
        people = self.ok("inspect", path).out
        self.assertRegex(people, r"a\.b +f32 +\[2, 3\] +24")

    def test_a_small_gguf(self):
        def text(s):
            return struct.pack("<Q", len(s)) + s.encode()
        head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
        head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
        head += text("numbers") + struct.pack("<IIQ", 9, 4, 20) + struct.pack("<20I", *range(20))
        head += text("t") + struct.pack("<I", 1) + struct.pack("<Q", 32) + struct.pack("<IQ", 8, 0)
        head += bytes(-len(head) % 32)
        path = self.file("x.gguf", head + bytes(34))
        got = self.json("inspect", path)
        self.assertEqual(got["format"], "GGUF v3")
        self.assertEqual(got["metadata"]["numbers"], {"n": 20, "first": list(range(8))})
        self.assertEqual([(t["name"], t["dtype"], t["shape"], t["bytes"]) for t in got["tensors"]], [("t", "q8_0", [32], 34)])
        self.assertIsNone(got["config"])
        self.ok("inspect", path)

    def test_filters(self):
        got = self.json("inspect", DEMO, "--tensors", "--match", "layers.3.")
        self.assertNotIn("metadata", got)
        self.assertTrue(got["tensors"] and all("layers.3." in t["name"] for t in got["tensors"]))
        self.assertNotIn("tensors", self.json("inspect", DEMO, "--metadata"))
        self.assertIn("totals:", self.ok("inspect").out)


class Dump(CliTest):
    def dump(self, name, *options):
        self.ok("score", "--ids", ",".join(map(str, HELLO)), "--top", 1, "--dump-dir", self.folder / name, *options)
        return sorted(p.name for p in (self.folder / name).iterdir())

    def test_compare_finds_what_differs_and_nothing_where_nothing_does(self):
        names = self.dump("a", "--threads", "1")
        self.assertGreater(len(names), 15 * 6)
        self.assertEqual(self.dump("b", "--threads", "2"), names)
        same = self.json("compare", self.folder / "a", self.folder / "b")
        self.assertEqual((same["compared"], same["identical"], same["first"]), (len(names), len(names), None))

        self.dump("c", "--weights", "q8_0")  # other weights, other numbers
        done = unicorn("compare", self.folder / "a", self.folder / "c", "--json")
        self.assertEqual(done.code, 1, done)
        first = json.loads(done.out)["first"]
        self.assertGreater(first["max_abs_error"], 0)
        self.assertEqual(first, json.loads(done.out)["drifts"][0])
        self.assertIn(first["tensor"], unicorn("compare", self.folder / "a", self.folder / "c").out)

    def test_devices_agree(self):
        self.dump("reference", "--device", "reference", "--kv", "f32")
        self.dump("cpu", "--device", "cpu", "--kv", "f32")
        got = unicorn("compare", self.folder / "cpu", self.folder / "reference", "--rtol", "0.01", "--atol", "0.01")
        self.assertEqual(got.code, 0, got)

    def test_filters_and_shapes(self):
        names = self.dump("f", "--dump-tensors", "layer=3,op=attention")
        self.assertEqual(len(names), 1)
        self.assertRegex(names[0], r"^\d{4}-L03-attention-.*\.npy$")
        shape, _ = read_npy(self.folder / "f" / names[0])
        self.assertEqual(shape, (len(HELLO), 256))

    def test_a_run_adds_a_row_for_every_token(self):
        self.ok("run", "--ids", ",".join(map(str, HELLO)), "--ignore-eos", "--temp", 0, "-n", 4, "--dump-dir", self.folder / "r",
                "--dump-tensors", "layer=0,op=attention")
        shape, _ = read_npy(next((self.folder / "r").iterdir()))
        self.assertEqual(shape[0], len(HELLO) + 3)


class Rest(CliTest):
    def test_devices(self):
        got = self.json("devices")
        self.assertIn("reference", [d["name"] for d in got["devices"]])
        self.assertTrue(all(d["available"] for d in got["devices"] if d["name"] in ("cpu", "reference")))
        self.assertIn("reference", self.ok("devices").out)

    def test_version_and_help(self):
        self.assertRegex(self.ok("--version").out, r"^unicorn \d+\.\d+\.\d+ \(")
        self.assertIn("perplexity", self.ok("--help").out)
        for command in ("run", "chat", "score", "perplexity", "tokenize", "inspect", "bench", "devices", "compare"):
            with self.subTest(command=command):
                text = self.ok(command, "--help").out
                self.assertIn("--json", text)
                self.assertEqual(self.ok("help", command).out, text)
                self.assertLessEqual(max(map(len, text.splitlines())), 120)
                self.assertTrue("Example" in text or command == "devices")


class Chat(CliTest):
    def test_a_script_talks_line_by_line(self):
        done = self.ok("chat", "--temp", 0, stdin="Hello\nWhat is 12 + 30?\n")
        lines = done.out.splitlines()
        self.assertTrue(lines[0].startswith("Hello!"), done)
        self.assertEqual(len(lines), 2, done)

    def test_the_prefix_stays_in_the_cache(self):
        done = self.ok("chat", "--temp", 0, "--json", stdin="Hello\nWhat is 12 + 30?\n/stats\n")
        first, second = map(json.loads, done.out.splitlines())
        self.assertEqual(first["prompt_ids"], HELLO)
        # Everything said so far, the answer's own ids and the end of its turn; then the next question.
        before = first["prompt_ids"] + first["ids"] + [5, 262]
        self.assertEqual(second["prompt_ids"][:len(before)], before)
        self.assertEqual(second["n_cached"], len(first["prompt_ids"] + first["ids"]))
        self.assertIn("were in the cache", done.err)

    def test_commands(self):
        done = self.ok("chat", "--temp", 0, "--json", stdin="/system Be brief.\n/system\nHello\n/reset\nHello\n/hlep\n/etc/passwd?\n/exit\nnever\n")
        answers = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(len(answers), 3)
        self.assertEqual(answers[0]["prompt_ids"], answers[1]["prompt_ids"])
        self.assertIn("Be brief.", done.err)
        self.assertIn("did you mean /help", done.err)

    def test_a_backslash_joins_lines(self):
        done = self.ok("chat", "--temp", 0, "-n", 1, "--json", stdin="one\\\ntwo\n\n   \n")
        joined = self.json("run", "--chat", "--prompt", "one\ntwo", "-n", 1)["prompt_ids"]
        self.assertEqual([json.loads(l)["prompt_ids"] for l in done.out.splitlines()], [joined])

    def test_old_turns_make_room(self):
        done = self.ok("chat", "--temp", 0, "--ctx", 96, "-n", 16, "--json", stdin="What does river mean?\n" * 8)
        answers = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(len(answers), 8)
        self.assertTrue(all(len(a["prompt_ids"]) <= 80 for a in answers))
        self.assertIn("dropped", done.err)

    def test_a_message_that_cannot_fit(self):
        done = unicorn("chat", "--ctx", 32, "--json", stdin="word " * 200 + "\nHello\n", env={})
        self.assertEqual(done.code, 1, done)
        error, answer = map(json.loads, done.out.splitlines())
        self.assertIn("room", error["error"])
        self.assertEqual(answer["prompt_ids"], HELLO)


if __name__ == "__main__":
    support.main()
