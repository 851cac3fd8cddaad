#!/usr/bin/env python3
"""Breaks the code as a tired engineer does, one place at a time, and asks whether the crate's own tests notice.

    run.py            run every slip, or those whose `crate/name` the regular expression in SLIPS finds
    run.py --check    only look whether each of them still finds its place, which takes no time

The slips stand beside this file, in a list for each crate. A slip replaces the text `find` by `replace`. It is looked for in
the whole `src` of its crate, tests excepted, so files may move; white space counts as any other. It must stand there once.

It takes Python 3.11, git, and `timeout`. The slips are made in a copy of the checkout, `target/slips/tree`: whatever kills a
run leaves the checkout as it is, and whoever edits it meanwhile does not disturb the run.

Keys of a slip:
    name, find, replace
    why       what goes wrong
    breaks    the requirement that it breaks, if one has a number
    blind     true when it was written by somebody who had not read the tests
    also      crates whose tests are asked too when those of its own crate say nothing; it counts as unnoticed all the same

SLIPS_PATIENCE (60) is how many seconds a crate's tests may take beyond four times what they take without a slip.

Exit: 0 when all were noticed, 1 when some were not, 2 when a list is wrong or tests fail without a slip.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = Path(__file__).resolve().parent
WORK = ROOT / "target" / "slips"
CLEAN = WORK / "clean"
TREE = WORK / "tree"
LOGS = WORK / "logs"
PATIENCE = int(os.environ.get("SLIPS_PATIENCE", "60"))

NOTICED, HUNG, ELSEWHERE, SURVIVED, BROKEN = "noticed", "noticed, by a hang", "elsewhere", "survived", "broken"
TEST_MODULE = re.compile(r"^#\[cfg\([^\n]*\btest\b[^\n]*\n(?:pub(?:\(crate\))? )?mod \w+ \{", re.MULTILINE)
DIED = re.compile(r"process didn't exit successfully: .*(\(.+\))$")
FAILED_TEST = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. FAILED$")
KEYS = {"name": str, "find": str, "replace": str, "why": str, "breaks": str, "blind": bool, "also": list}


class Wrong(Exception):
    """A list, or the checkout, is not as it should be."""


@dataclass
class Slip:
    crate: str
    name: str
    find: str
    replace: str
    why: str
    breaks: str = ""
    blind: bool = False
    also: tuple = ()

    @property
    def title(self):
        return f"{self.crate}/{self.name}"

    def place(self, files):
        """The one file and span where it belongs."""
        # White space counts as any other, because a line that moves is often indented anew.
        pattern = re.compile(r"\s+".join(map(re.escape, self.find.split())))
        places = [(file, match.span()) for file, text in files.items() for match in pattern.finditer(text)]
        if len(places) != 1:
            found = ", ".join(str(file) for file, _ in places)
            where = f"stands {len(places)} times ({found})" if places else "is gone"
            raise Wrong(f"{self.title}: its anchor {where}: {' '.join(self.find.split())}")
        return places[0]

    def make(self, files):
        """Makes the slip in the tree, which is clean."""
        file, (start, end) = self.place(files)
        text = (TREE / file).read_text(encoding="utf-8")
        (TREE / file).write_text(text[:start] + self.replace.strip("\n") + text[end:], encoding="utf-8")


def read_slips():
    slips, wrong = [], []
    for file in sorted(LISTS.glob("*.toml")):
        with file.open("rb") as text:
            read = tomllib.load(text)
        for entry in read.get("slip", []):
            title = f"{file.name}: {entry.get('name')}"
            odd = [key for key, value in entry.items() if not isinstance(value, KEYS.get(key, ()))]
            missing = [key for key in ("name", "find", "replace", "why") if key not in entry]
            if odd or missing:
                wrong.append(f"{title}: cannot be read: {', '.join(odd + missing)}")
                continue
            slips.append(Slip(crate=read["crate"], **entry))
            if not entry["find"].strip() or entry["find"].split() == entry["replace"].split():
                wrong.append(f"{title}: changes nothing")
    titles = [slip.title for slip in slips]
    wrong += [f"{title}: there are two of that name" for title in sorted(set(titles)) if titles.count(title) > 1]
    return slips, wrong


def read_sources(root):
    """The code of each crate, file by file, without its tests."""
    metadata = ["cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"]
    packages = json.loads(subprocess.run(metadata, cwd=root, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    sources = {}
    for package in packages:
        own = sources[package["name"]] = {}
        for file in sorted((Path(package["manifest_path"]).parent / "src").rglob("*.rs")):
            if not file.stem.endswith("tests"):
                text = file.read_text(encoding="utf-8")
                tests = TEST_MODULE.search(text)
                own[file.relative_to(root)] = text[: tests.start()] if tests else text
    return sources


def check(slips, sources):
    wrong = []
    for slip in slips:
        strange = [crate for crate in (slip.crate, *slip.also) if crate not in sources]
        if strange:
            wrong.append(f"{slip.title}: there is no crate {', '.join(strange)}")
            continue
        try:
            slip.place(sources[slip.crate])
        except Wrong as error:
            wrong.append(str(error))
    return wrong


def listed():
    """The files of the checkout, without what git ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = os.fsdecode(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout).split("\0")
    return {name for name in names if name and (ROOT / name).is_file()}


def copy(source, target, names):
    """Makes one tree equal to another. What is equal already keeps its time, so that cargo builds no more than it must."""
    for name in names:
        original, own = source / name, target / name
        if not own.is_file() or own.read_bytes() != original.read_bytes():
            own.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original, own)
    for own in [file for file in target.rglob("*") if file.is_file()]:
        if str(own.relative_to(target)) not in names:
            own.unlink()


def cargo(arguments, log, seconds=3600, to_the_end=False):
    """Runs cargo, up to the first test that fails. Returns its exit status, and that test or how a test program died."""
    environment = os.environ | {
        "CARGO_TARGET_DIR": str(WORK / "target"),
        "CARGO_PROFILE_DEV_DEBUG": "0",
        "CARGO_INCREMENTAL": "1",
        "CARGO_TERM_COLOR": "never",
    }
    # `timeout` ends the tests also when this process was killed.
    command = ["timeout", "--kill-after=5", str(seconds), "cargo", *arguments]
    process = subprocess.Popen(
        command,
        cwd=TREE,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    failed = ""
    try:
        for line in process.stdout:
            log.write(line)
            if found := FAILED_TEST.match(line.rstrip()):
                failed = failed or found[1]
                if not to_the_end:
                    return 1, failed
            elif found := DIED.search(line.rstrip()):
                failed = failed or f"a test program that died {found[1]}"
        return process.wait(), failed
    finally:
        # A process group of our own: the tests, and what they started.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def test(crate, log, seconds=3600, **how):
    """Runs a crate's tests. Returns what came of it and who says so."""
    arguments = ["test", "--locked", "--package", crate]
    if cargo([*arguments, "--no-run"], log)[0]:
        return BROKEN, "it does not compile"
    status, failed = cargo(arguments, log, seconds, **how)
    if status in (124, 137):
        return HUNG, f"after {seconds} s"
    return (NOTICED, failed) if status else (SURVIVED, "")


class Runner:
    def __init__(self):
        self.names = listed()
        copy(ROOT, CLEAN, self.names)
        self.sources = read_sources(CLEAN)
        self.limits = {}

    def limit(self, crate):
        """How long a crate's tests may take: known from a run without a slip, which must pass."""
        if crate not in self.limits:
            copy(CLEAN, TREE, self.names)
            with (LOGS / f"{crate}.log").open("w", buffering=1) as log:
                # Built by now, so that what follows is the time of the tests.
                cargo(["test", "--locked", "--package", crate, "--no-run"], log)
                began = time.monotonic()
                # To its end, so that the log says why.
                outcome, who = test(crate, log, to_the_end=True)
                took = time.monotonic() - began
            self.limits[crate] = PATIENCE + round(4 * took) if outcome == SURVIVED else None
            print(f"--- {crate}: {who or 'passes'} without a slip [{took:.0f} s]", flush=True)
        if self.limits[crate] is None:
            raise Wrong(f"{crate}: its tests fail without a slip: see {LOGS / crate}.log")
        return self.limits[crate]

    def ask(self, slip, crate):
        limit = self.limit(crate)
        copy(CLEAN, TREE, self.names)
        slip.make(self.sources[slip.crate])
        with (LOGS / f"{slip.crate}.{slip.name}.{crate}.log").open("w", buffering=1) as log:
            outcome, who = test(crate, log, limit)
            # A test that fails now and then notices nothing: it has to fail again, or another has to.
            alone = ["test", "--locked", "--package", crate, "--", "--exact", who]
            if outcome == NOTICED and not cargo(alone, log, limit, to_the_end=True)[0]:
                outcome, who = test(crate, log, limit)
        if outcome == BROKEN:
            raise Wrong(f"{slip.title}: {who}: see {log.name}")
        return outcome, who

    def run(self, slip):
        outcome, who = self.ask(slip, slip.crate)
        for crate in slip.also if outcome == SURVIVED else ():
            try:
                seen, by = self.ask(slip, crate)
            except Wrong as error:
                who = f"{who or 'nobody did'}; {error}"
                continue
            if seen != SURVIVED:
                return ELSEWHERE, f"only by {crate}: {by}"
        return outcome, who


def table(results):
    """Counts by crate, and by who wrote them."""
    rows = {}
    for slip, outcome, _ in results:
        for row in (slip.crate, "blind" if slip.blind else "not blind", "all"):
            rows.setdefault(row, []).append(outcome)
    order = [row for row in rows if row not in ("blind", "not blind", "all")]
    lines = [f"{'':16} {'slips':>6} {'noticed':>8} {'by a hang':>10} {'elsewhere':>10} {'survived':>9}"]
    for row in order + [row for row in ("blind", "not blind", "all") if row in rows]:
        outcomes = rows[row]
        noticed = outcomes.count(NOTICED) + outcomes.count(HUNG)
        numbers = (outcomes.count(HUNG), outcomes.count(ELSEWHERE), outcomes.count(SURVIVED))
        lines.append(f"{row:16} {len(outcomes):6} {noticed:8} {numbers[0]:10} {numbers[1]:10} {numbers[2]:9}")
    return lines


def report(results):
    lines = []
    missed = [result for result in results if result[1] in (ELSEWHERE, SURVIVED)]
    for slip, outcome, who in missed:
        requirement = f" ({slip.breaks})" if slip.breaks else ""
        lines += [f"{slip.title}{requirement}: the tests of {slip.crate} should have seen it; {who or 'nobody did'}"]
        lines += [f"    {slip.why}"]
    share = 100 * len(missed) / len(results)
    lines += ["", *table(results), "", f"{len(results)} slips, {len(missed)} of them unnoticed ({share:.0f} %)"]
    (WORK / "report.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return 1 if missed else 0


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    slips, wrong = read_slips()
    chosen = [slip for slip in slips if re.search(os.environ.get("SLIPS", ""), slip.title)]
    wrong += check(chosen, read_sources(ROOT))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2
    if sys.argv[1:] == ["--check"]:
        print(f"{len(chosen)} slips, each in its place")
        return 0
    if not chosen:
        sys.exit("no slip has such a name")
    for place in (CLEAN, TREE, LOGS):
        place.mkdir(parents=True, exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another run is at work here")
        runner, results = Runner(), []
        for slip in chosen:
            began = time.monotonic()
            try:
                outcome, who = runner.run(slip)
            except Wrong as error:
                if str(error) not in wrong:
                    print(error, flush=True)
                    wrong.append(str(error))
                continue
            results.append((slip, outcome, who))
            print(f"{slip.title}: {outcome} {who} [{time.monotonic() - began:.0f} s]", flush=True)
        print()
        status = report(results) if results else 0
    if wrong:
        print("\n".join(["", "wrong:", *wrong]))
        return 2
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
