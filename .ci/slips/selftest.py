#!/usr/bin/env python3
"""Checks `run.py` on a workspace of two small crates: each way in which a slip can end, and a run that is killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent

CODE = """\
//! Numbers.

/// Twice as much.
pub fn double(number: u32) -> u32 {
    let mut sum = 0;
    while sum < number { sum += 1; }
    sum +
        number
}

/// One more, which only another crate looks at.
pub fn next(number: u32) -> u32 { number + 1 }

/// Nobody looks at it.
pub fn half(number: u32) -> u32 { number / 2 }

#[cfg(test)]
mod tests {
    #[test]
    fn two_are_four() {
        assert_eq!(super::double(2), 4, "in a test only");
    }

    #[test]
    fn fails_when_it_is_told_to() {
        assert!(std::fs::remove_file("../../../../fail").is_err(), "once");
    }
}
"""

OTHER = """\
#[test]
fn three_follows_two() {
    assert_eq!(own::next(2), 3);
}
"""


def slip(name, find, replace, more=""):
    return f'[[slip]]\nname = "{name}"\nwhy = "as a test"\nfind = "{find}"\nreplace = "{replace}"\n{more}\n'


NOTICED = slip("noticed", "sum + number", "sum", "blind = true")
DIES = slip("dies", "sum + number", "std::process::abort()")
HANGS = slip("hangs", "sum += 1;", "")
SURVIVES = slip("survives", "number / 2", "number")
ELSEWHERE = slip("elsewhere", "number + 1", "number", 'also = ["other"]\nbreaks = "NUM-1"')
BROKEN = slip("broken", "number / 2", "nonsense")


class SelfTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Path(tempfile.mkdtemp(prefix="slips-"))
        cls.write("Cargo.toml", '[workspace]\nresolver = "3"\nmembers = ["own", "other"]\n')
        package = '[package]\nname = "{0}"\nversion = "0.1.0"\nedition = "2024"\n'
        cls.write("own/Cargo.toml", package.format("own"))
        cls.write("own/src/lib.rs", CODE)
        cls.write("other/Cargo.toml", package.format("other") + '[dependencies]\nown = { path = "../own" }\n')
        cls.write("other/src/lib.rs", "#[cfg(test)]\nmod tests {\n" + OTHER + "}\n")
        cls.write(".gitignore", "target\n")
        cls.write(".ci/slips/run.py", (HERE / "run.py").read_text())
        subprocess.run(["cargo", "generate-lockfile", "--offline", "--quiet"], cwd=cls.place, check=True)
        subprocess.run(["git", "init", "--quiet"], cwd=cls.place, check=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.place)

    @classmethod
    def write(cls, name, text):
        file = cls.place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def start(self, *slips, arguments=(), patience=20):
        self.write(".ci/slips/own.toml", 'crate = "own"\n' + "".join(slips))
        environment = os.environ | {"SLIPS_PATIENCE": str(patience), "SLIPS": ""}
        command = [sys.executable, ".ci/slips/run.py", *arguments]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.place, env=environment, **pipe)

    def run_slips(self, *slips, arguments=(), patience=20):
        process = self.start(*slips, arguments=arguments, patience=patience)
        said = process.communicate()[0]
        self.assertEqual((self.place / "own/src/lib.rs").read_text(), CODE, "the checkout is as it was")
        return process.returncode, said

    def check(self, *slips):
        return self.run_slips(*slips, arguments=["--check"])

    def test_each_outcome_is_told(self):
        status, said = self.run_slips(NOTICED, DIES, SURVIVES, ELSEWHERE)
        self.assertEqual(status, 1, said)
        self.assertIn("own/noticed: noticed tests::two_are_four", said)
        self.assertIn("own/dies: noticed a test program that died", said)
        self.assertIn("own/survives: survived", said)
        self.assertIn("own/elsewhere: elsewhere only by other: tests::three_follows_two", said)
        self.assertIn("own/elsewhere (NUM-1): the tests of own should have seen it; only by other", said)
        self.assertIn("4 slips, 2 of them unnoticed (50 %)", said)
        self.assertRegex(said, r"\nblind +1 +1 +0 +0 +0\n")
        self.assertRegex(said, r"\nnot blind +3 +1 +0 +1 +1\n")
        self.assertEqual((self.place / "target/slips/report.txt").read_text().splitlines()[-1], said.splitlines()[-1])

    def test_a_test_that_fails_now_and_then_notices_nothing(self):
        process = self.start(SURVIVES)
        said = ""
        for line in process.stdout:
            said += line
            if "without a slip" in line:
                self.write("fail", "")
        process.communicate()
        self.assertEqual(process.returncode, 1, said)
        self.assertFalse((self.place / "fail").exists(), "it failed")
        self.assertIn("own/survives: survived", said)

    def test_a_hang_is_noticed(self):
        status, said = self.run_slips(HANGS, patience=5)
        self.assertEqual(status, 0, said)
        self.assertIn("own/hangs: noticed, by a hang after", said)

    def test_a_slip_that_does_not_compile_is_wrong(self):
        status, said = self.run_slips(BROKEN, NOTICED)
        self.assertEqual(status, 2, said)
        self.assertIn("own/broken: it does not compile", said)
        self.assertIn("own/noticed: noticed", said)

    def test_tests_that_fail_by_themselves_notice_nothing(self):
        self.write("own/tests/fails.rs", "#[test]\nfn fails() { panic!() }\n")
        try:
            status, said = self.run_slips(NOTICED)
        finally:
            (self.place / "own/tests/fails.rs").unlink()
        self.assertEqual(status, 2, said)
        self.assertIn("own: its tests fail without a slip", said)

    def test_an_anchor_stands_once_and_not_in_a_test(self):
        self.assertEqual(self.check(NOTICED, SURVIVES), (0, "2 slips, each in its place\n"))
        for name, find, why in [
            ("gone", "sum - number", "its anchor is gone"),
            ("tests", "in a test only", "its anchor is gone"),
            ("twice", "-> u32", "its anchor stands 3 times (own/src/lib.rs"),
        ]:
            status, said = self.check(slip(name, find, "x"))
            self.assertEqual((status, why in said), (2, True), said)

    def test_a_list_with_an_error_is_refused(self):
        for entry, why in [
            (slip("same", "number / 2", "number  / 2"), "changes nothing"),
            (NOTICED + NOTICED, "there are two of that name"),
            (slip("odd", "number / 2", "number", "blnd = true"), "cannot be read: blnd"),
            (slip("strange", "number / 2", "number", 'also = ["nobody"]'), "there is no crate nobody"),
        ]:
            status, said = self.check(entry)
            self.assertEqual((status, why in said), (2, True), said)

    def test_a_run_that_is_killed_leaves_nothing_behind(self):
        process = self.start(HANGS, patience=5)
        for line in process.stdout:
            if "without a slip" in line:
                break
        # The slip stands in the copy by the time its tests are built.
        copy = self.place / "target/slips/tree/own/src/lib.rs"
        while copy.read_text() == CODE:
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        status, said = self.run_slips(NOTICED)
        self.assertEqual(status, 0, said)
        self.assertEqual(copy.read_text(), CODE.replace("sum +\n        number", "sum"))


if __name__ == "__main__":
    unittest.main()
