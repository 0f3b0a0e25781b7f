#!/usr/bin/env python3
"""unicorn chat as a person sees it: on a pseudo-terminal, with keys, Ctrl-C, paste, history."""
import os
import signal
import termios

import support
from support import CliTest, Terminal

CTRL_A, CTRL_C, CTRL_D, CTRL_E, CTRL_W, CTRL_Z = "\x01", "\x03", "\x04", "\x05", "\x17", "\x1a"
UP, LEFT, DELETE, HOME, ALT_ENTER = "\x1b[A", "\x1b[D", "\x1b[3~", "\x1b[H", "\x1b\r"
PROMPT = r"> "


class ChatTerminal(CliTest):
    def chat(self, *args, **env):
        terminal = Terminal("chat", "--temp", "0", *args, env={"XDG_STATE_HOME": str(self.folder), **env})
        self.addCleanup(terminal.close)
        terminal.expect("Ctrl-D leaves")
        terminal.expect_prompt()
        return terminal

    def test_an_answer_streams_and_the_prompt_comes_back(self):
        t = self.chat()
        t.type("Hello\r")
        t.expect("Hello! I am a very")
        t.expect_prompt()
        t.type("What is 12 + 30?\r")
        t.expect(r"12 \+ 30 = ")
        t.expect_prompt()
        t.type(CTRL_D)
        self.assertEqual(t.wait(), 0)

    def test_lines_are_edited(self):
        t = self.chat("-n", "1")
        t.type("/systm" + LEFT + "e" + CTRL_E + " abX" + "\x7f" + "c wrong" + CTRL_W + HOME + "zz" + CTRL_A + DELETE + DELETE + "\r")
        t.expect("a new conversation begins")
        t.expect_prompt()
        t.type("/system\r")
        t.expect(r"\n.*abc ?\r")

    def test_unicode_is_typed_and_deleted_whole(self):
        t = self.chat("-n", "1", LANG="C", LC_ALL="C")
        t.type("/system naïve 日本語語\x7f ✓\r")
        t.expect("a new conversation begins")
        t.type("/system\r")
        t.expect("naïve 日本語 ✓")

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        t = self.chat("--ignore-eos", "-n", "3000")
        for _ in range(2):
            t.type("Tell me everything\r")
            t.expect("everything\r\n.*[a-z]{2}")
            t.type(CTRL_C)
            t.expect(r"\[stopped\]")
            t.expect_prompt()
            self.assertTrue(t.alive())
        t.type("/stats\r")
        t.expect("2 turns")
        t.expect("cancelled")

    def test_ctrl_c_as_a_signal_stops_the_answer_too(self):
        t = self.chat("--ignore-eos", "-n", "3000")
        t.type("Tell me everything\r")
        t.expect("everything\r\n.*[a-z]{2}")
        os.kill(t.pid, signal.SIGINT)
        t.expect(r"\[stopped\]")
        t.expect_prompt()

    def test_ctrl_c_gives_up_a_line_and_then_hints(self):
        t = self.chat()
        t.type("half a thought" + CTRL_C)
        t.expect(r"\^C")
        t.expect_prompt()
        t.type(CTRL_C)
        t.expect_prompt()
        self.assertNotIn("to leave", t.text)
        t.type(CTRL_C)
        t.expect("to leave, type /exit")
        t.expect_prompt()
        t.type("Hello\r")
        t.expect("Hello! I am")

    def test_a_paste_of_many_lines_is_one_message(self):
        t = self.chat("-n", "2")
        t.type("\x1b[200~first line\nsecond line\n\tthird\x1b[201~")
        t.expect("third")
        self.assertNotIn("[stopped", t.text)
        t.type("\r")
        t.expect("stopped after 2 tokens")
        t.expect_prompt()
        t.type("/stats\r")
        t.expect("1 turns")

    def test_alt_enter_and_a_backslash_make_lines(self):
        t = self.chat("-n", "2")
        t.type("/system one" + ALT_ENTER + "two\\\r")
        t.expect(r"\. ")
        t.type("three\r")
        t.expect("a new conversation begins")
        t.type("/system\r")
        t.expect("one\r\ntwo\r\nthree")

    def test_history_survives_the_program(self):
        t = self.chat("-n", "1")
        t.type("/system remember me\r")
        t.expect("a new conversation begins")
        t.type("/exit\r")
        self.assertEqual(t.wait(), 0)
        path = self.folder / "unicorn/chat_history"
        self.assertTrue(path.exists())
        self.assertEqual(path.stat().st_mode & 0o077, 0)  # nobody else's business
        t = self.chat("-n", "1")
        t.type(UP + UP + "\r")  # "/exit" is the latest
        t.expect("a new conversation begins")
        t.type("/system\r")
        t.expect(r"\n.*remember me")

    def test_no_place_for_a_history_is_no_reason_to_fail(self):
        t = self.chat("-n", "1", XDG_STATE_HOME="/proc/nowhere")
        t.type("Hello\r")
        t.expect("stopped after 1 tokens")

    def test_commands(self):
        t = self.chat("-n", "1")
        t.type("/help\r")
        t.expect("/reset")
        t.expect_prompt()
        t.type("/rest\r")
        t.expect("did you mean /reset")
        t.type("/quit\r")
        self.assertEqual(t.wait(), 0)

    def test_the_context_fills_and_says_so(self):
        t = self.chat("--ctx", "96", "-n", "24")
        for _ in range(6):
            t.type("What does river mean?\r")
            t.expect("river mean\\?\r\n")
            t.expect(r"\r\n\r\n\S*" + PROMPT)
        self.assertIn("of 96 tokens of context used", t.text)
        self.assertIn("the oldest turn", t.text)

    def test_ctrl_z_goes_back_to_the_shell_and_fg_returns(self):
        t = Terminal("chat", "-n", "2", env={"XDG_STATE_HOME": str(self.folder)}, shell=True)
        self.addCleanup(t.close)
        t.expect_prompt()
        t.type("half")
        for _ in range(2):
            t.expect("half")
            t.until(t.reads_keys, "reading keys again")  # drawn first
            t.type(CTRL_Z)
            t.expect("Stopped")
            t.type("fg\r")
        t.expect("half")
        t.type(" a line\r")
        t.expect("stopped after 2 tokens")
        t.expect_prompt()
        t.type("/exit\r")
        t.expect(r"\$ ")

    def test_the_terminal_is_left_as_it_was(self):
        t = Terminal("chat", "-n", "1", env={"XDG_STATE_HOME": str(self.folder)})
        self.addCleanup(t.close)
        before = termios.tcgetattr(t.fd)
        t.expect_prompt()
        t.type("Hello\r")
        t.expect("stopped after 1 tokens")
        t.expect_prompt()
        os.kill(t.pid, signal.SIGTERM)
        self.assertEqual(t.wait(), -signal.SIGTERM)
        # libedit sets the erase and word keys of its modes; what a shell relies on is the rest.
        after = termios.tcgetattr(t.fd)
        self.assertEqual(before[0:4], after[0:4])
        self.assertEqual(before[6][termios.VINTR], after[6][termios.VINTR])

    def test_a_script_on_a_terminals_output(self):
        # stdin is a pipe: no prompt, no greeting, only answers.
        done = support.unicorn("chat", "--temp", "0", stdin="Hello\n")
        self.assertNotIn("> ", done.out)
        self.assertTrue(done.out.startswith("Hello!"))


if __name__ == "__main__":
    support.main()
