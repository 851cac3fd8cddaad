#!/usr/bin/env python3
"""Makes wrong registries out of those of the adapters, by operators, and asks whether `registry-conform` notices.

    run.py --suite PROGRAM --lang javascript|python|go [--half tuning|measure] [--seed N] [--sample N] [--out DIR]
    run.py --lang LANG --list        only print the names of the mutants of the half
    run.py ... --only NAME           only this one; may be repeated

Nobody chooses the mutants: an operator is applied wherever it fits, each time at one place. That place and the operator are
the mutant's name, `registry.mjs:61:drop`, with a number behind it where there are several on one line.

Operators:
    relation  < for <=, == for !=, `in` for `not in`          logic   && for ||, `and` for `or`
    operand   leave out one side of && or ||                  negate  a condition
    number    0 for 1, n + 1 for n                            sign    + for -, += for -=, ++ for --, max for min
    truth     true for false                                  text    the empty string for a constant one
    end       the last for the first, the rest for the part   copy    what was copied, for the copy
    filter    leave out the filter                            args    swap two neighbouring arguments
    drop      leave out a statement                           swap    two neighbouring statements
    late      a removal at the end of its block               once    a loop ends after its first round
    empty     a function returns at once                      result  return a constant
    unwrap    a `try` without its handlers                    unlock  a function without its lock

The mutants are in two halves, by a hash with the seed: `tuning` is for whoever mends the suite, `measure` tells how good it
is and is not looked at before. --sample N takes mutants of the half, in the order of their hash, until N of them are
registries: what does not compile or does not start, or whose every script is the adapter's failure, is counted apart.

DIR gets `LANG.json`, and for each mutant its patch and the suite's report. While the file that --pause names exists, nothing
is started. It takes Python 3.11, and node or go for their languages. Exit: 0, 2 when the registry fails as it stands.
"""
import argparse, ast, difflib, hashlib, json, os, re, shutil, signal, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path

ADAPTERS = Path(__file__).resolve().parents[2] / "harness" / "adapters"
FILES = {"javascript": ["registry.mjs"], "python": ["registry.py"], "go": ["registry.go", "outbox.go"]}
START = {"javascript": ["node", "adapter.mjs"], "python": [sys.executable, "adapter.py"], "go": ["./adapter"]}
PAIRS = {"(": ")", "[": "]", "{": "}"}
REMOVES = re.compile(r"\bdelete\b|\.(?:pop|popleft|remove|shift)\(|\b_?take\(|\bkept$")
OUTCOMES = {0: "survivor", 1: "killed", 3: "adapter error", 4: "not decided", 5: "not tested", None: "too slow"}
SIMPLE = {
    "relation": {" < ": " <= ", " <= ": " < ", " > ": " >= ", " >= ": " > ", " == ": " != ", " != ": " == ",
                 " === ": " !== ", " !== ": " === ", " is not ": " is ", " is ": " is not ", " not in ": " in "},
    "logic": {" && ": " || ", " || ": " && ", " and ": " or ", " or ": " and ", " ?? ": " && "},
    "sign": {" + ": " - ", " - ": " + ", " += ": " -= ", " -= ": " += ", "++": "--", "--": "++", "max(": "min("},
    "truth": {"true": "false", "false": "true", "True": "False", "False": "True"},
    "end": {".shift()": ".pop()", ".popleft()": ".pop()", ".push(": ".unshift("},
}


def mask(text, lang):
    """The text with comments and the inside of strings blanked, so that every place keeps its number."""
    comment = r"#[^\n]*" if lang == "python" else r"//[^\n]*|/\*.*?\*/"
    def blank(found):
        kept = found[0][0] in "\"'`" and not found[0].startswith('"""')
        return found[0][0] + "_" * (len(found[0]) - 2) + found[0][-1] if kept else re.sub(r"[^\n]", " ", found[0])
    return re.sub(r'"""(?:.*?)"""|"(?:\\.|[^"\\\n])*"|`[^`]*`|' + comment, blank, text, flags=re.S)


def reach(code, at, stops, step=1):
    """From a place to the first stop outside brackets that are opened on the way, or to the bracket around it."""
    depth, opening, closing = 0, *("([{", ")]}")[::step]
    while 0 <= (here := at if step == 1 else at - 1) < len(code):
        if depth == 0 and (code[here] in closing or (stops and re.match(stops, code[here:here + 8]))):
            break
        depth += (code[here] in opening) - (code[here] in closing)
        at += step
    return at


def blocks(text, code, lang):
    """The lists of statements, each as (start, end), with what stands before the list."""
    if lang == "python":
        lines = [0] + [found.end() for found in re.finditer("\n", code)]
        for node in ast.walk(ast.parse(text)):
            for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
                if isinstance(body, list) and body and not isinstance(node, (ast.Module, ast.ClassDef)):
                    head = "func" if isinstance(node, ast.FunctionDef) else type(node).__name__.lower()
                    yield head, [(lines[one.lineno - 1] + one.col_offset, lines[one.end_lineno - 1] + one.end_col_offset)
                                 for one in body]
        return
    for brace in re.finditer(r"\{", code):
        before = code[code.rfind("\n", 0, brace.start()) + 1:brace.start()]
        if re.search(r"^type |^(export )?class |[\w\]]$", before):
            continue
        stop, at, found = reach(code, brace.end(), ""), brace.end(), []
        while (at := at + re.match(r"[\s;]*", code[at:stop]).end()) < stop:
            body = code.find(" {", at) if re.match(r"(?:if|for|switch) ", code[at:]) and lang == "go" else at
            end = reach(code, body, r";|\n" if lang == "go" else r";")
            if lang == "javascript":
                compound = re.match(r"(?:if|for|while|try)\b", code[at:])
                close = at
                while compound and (close := code.find("}", close, end) + 1):  # ends at its brace, if nothing follows
                    balanced = code.count("{", at, close) == code.count("}", at, close)
                    if balanced and not re.match(r"\s*(else|catch)", code[close:]):
                        end = close
                        break
                while re.match(r"; *\s*else\b", code[end:]):
                    end = reach(code, end + 1, ";")
                if end == stop and code[end - 1] != "}":
                    break  # no statement: what is in an object
                end += code[end:end + 1] == ";"
            found.append((at, end))
            at = end
        kind = re.search(r"\b(if|for|while|switch|catch|try|else|case)\b(?!.*(=>|func))", before)
        head = kind[1] if kind else "func" if re.search(r"=> $|\) $|func", before) else "object"
        yield head, found
        if lang == "javascript":
            for at, end in found:  # the bodies without braces
                while at < end and (part := re.match(r"(?:else )?(?:if|for|while) \(", code[at:])):
                    at = reach(code, at + part.end(), "") + 2
                    other = code.find("else ", at, end)
                    if code[at] == "{":
                        break
                    yield part[0], [(at, code.rfind(";", at, other) + 1 if other > 0 else end)]
                    if other > 0:
                        yield "else", [(other + 5, end)]


def edits(text, lang):
    """Every (operator, start, end, replacement)."""
    code = mask(text, lang)
    for operator, table in SIMPLE.items():
        for old in sorted(table, key=len, reverse=True):
            for found in re.finditer((r"\b" if old[0].isalpha() else "") + re.escape(old), code):
                if not (old == " is " and code.startswith("not ", found.end())):
                    yield operator, *found.span(), table[old]
    if lang == "python":
        for found in re.finditer(r"(?<!not) in ", code):
            if not re.search(r"\bfor [\w, ]+$", code[:found.start()]):
                yield "relation", *found.span(), " not in "
    for found in re.finditer(r"(?<![\w.])\d+(?!\w)", code):
        yield "number", *found.span(), "0" if found[0] == "1" else str(int(found[0]) + 1)
    for found in re.finditer(r'"_+"', code):
        line = code[code.rfind("\n", 0, found.start()) + 1:found.end()]
        if not re.search(r"Error\(|Refused\(|Errorf?\(|errors\.New\(|import|^\t\"", line):
            yield "text", *found.span(), '""'
    for found in re.finditer(r" (&&|\|\||and|or) ", code):
        stops = r"&&|\|\||[,;:?\n{]|=>| (?:and|or|if|else|return) | = |:= "
        left, right = reach(code, found.start(), stops, -1), reach(code, found.end(), stops)
        left += re.match(r"\s*(?:(?:if|return|while|elif|=|>) )?\s*", code[left:]).end()
        yield "operand", left, found.end(), ""
        yield "operand", found.start(), right, ""
    heads = {"javascript": (r"\b(?:if|while) \(|\.(?:filter|some)\(.*?=> ", ""),
             "python": (r"\b(?:if|while|elif) |lambda \w+: ", r":|\n| else|, "),
             "go": (r"\b(?:if|for) (?!.*range)(?!\{)(?:.*; )?|bool \{ return ", r" \{| \}")}[lang]
    for found in re.finditer(heads[0], code):
        end = reach(code, found.end(), heads[1])
        condition = text[found.end():end]
        yield "negate", found.end(), end, f"not ({condition})" if lang == "python" else f"!({condition})"
        if lang == "python" and found[0] == "if " and code[end] in "])":
            yield "filter", found.start() - 1, end, ""
        if "=>" in found[0] or "lambda" in found[0] or "bool" in found[0]:
            yield "filter", found.end(), end, "True" if lang == "python" else "true"
    for found in re.finditer(r"([\w.]+)\[0\]", code):
        yield "end", *found.span(), f"{found[1]}[-1]" if lang == "python" else f"{found[1]}[len({found[1]})-1]"
    for found in re.finditer(r"([\w.]+)\[([^\[\]]*?): ?([^\[\]]*)\]", code):
        low, high = text[found.start(2):found.end(2)], text[found.start(3):found.end(3)]
        if not (low and high):
            yield "end", *found.span(), f"{found[1]}[{high}:{low}]"
    for found in re.finditer(r"\.slice\(0, ", code):
        yield "end", *found.span(), ".slice("
    for pattern in (r"\[\.\.\.([\w.#]+)\]", r"(?:new Set|list|set|frozenset)\(([\w.#]+)\)", r"&(\w+)\b"):
        for found in re.finditer(pattern, code):
            yield "copy", *found.span(), found[1]
    for found in re.finditer(r"make\(\[\][*\w]+, 0, len\(([\w.]+)\)\)", code):
        yield "copy", *found.span(), f"{found[1]}[:0]"
    for found in re.finditer(r"\[(?=\w+ for )", code):
        end = reach(code, found.end(), "")
        yield "copy", found.start(), end + 1, f"({text[found.end():end]})"
    for found in re.finditer(r"(?<!def )[\w#]+\((?!\))", code):
        end, at, parts = reach(code, found.end(), ""), found.end(), []
        while at < end:
            parts.append((at, comma := reach(code, at, ",")))
            at = comma + 1 + (code[comma + 1:comma + 2] == " ")
        line = code[code.rfind("\n", 0, found.start()) + 1:found.start()]
        for (a, b), (c, d) in zip(parts, parts[1:]):
            defined = code.startswith(" {", end + 1) or "def " in line or "func (" in line
            if text[a:b] != text[c:d] and not defined:
                yield "args", a, d, text[c:d] + text[b:c] + text[a:b]
    yield from of_statements(text, code, lang)


def of_statements(text, code, lang):
    nothing, semicolon = ("pass", "") if lang == "python" else ("", ";" if lang == "javascript" else "")
    blank = {"javascript": ["0", "null", "true"], "python": ["0", "None", "True"], "go": ["0", "nil", "true", "false"]}[lang]
    for head, found in blocks(text, code, lang):
        found = [(start, end) for start, end in found
                 if code[start:end].strip() and not re.match(r"(?:case|default)\b", code[start:])]
        pad = "\n" + " " * (found[0][0] - code.rfind("\n", 0, found[0][0]) - 1) if lang == "python" and found else " "
        for n, (start, end) in enumerate(found):
            word = text[start:end]
            if not re.match(r"const |let |def |class |func ", word):
                yield "drop", start, end, nothing or semicolon
            if result := re.match(r"return (?!func|null|nil|true|false|True|False)", word):
                for value in blank:
                    yield "result", start + result.end(), end - len(semicolon), value
            if word.startswith("try {"):
                yield "unwrap", start + 4, end, word[4:reach(word, 5, "") + 1]
            elif word.startswith("try:"):
                yield "unwrap", start, end, "if True:" + word[4:word.rindex("\n", 0, word.index("except"))]
            if lang == "python" and (lock := re.match(r"with [^\n]*:", word)):
                yield "unlock", start, start + lock.end(), "if True:"
            if lang == "go" and (lock := re.match(r"(.*)\.Lock\(\)", word)):
                stop = code.find("\n}", start)
                calls = r"(?:defer )?" + re.escape(lock[1]) + r"\.(?:Un)?[lL]ock\(\)"
                yield "unlock", start, stop, re.sub(calls, "", text[start:stop])
            if n + 1 < len(found):
                a, b = found[n + 1]
                yield "swap", start, b, text[a:b] + text[end:a] + word
                last = found[-1] if not re.match("return", code[found[-1][0]:]) else found[-2]
                if REMOVES.search(code[start:end]) and last[0] > start:
                    rest = text[end:last[1]].lstrip()
                    yield "late", start, last[1], rest + (pad if lang == "python" else "\n") + word
        if found and head.split(" ")[0] in ("for", "while"):
            joint = pad if lang == "python" else "; " if lang == "go" else ""
            yield "once", found[-1][1], found[-1][1], f"{joint}break{semicolon}"
        if found and head == "func":
            yield "empty", found[0][0], found[0][0], f"return{semicolon or pad if lang != 'go' else '; '}"


def mutants(lang, half, seed):
    """The mutants of a half, in the order of their hash: (name, file, text)."""
    all_of_them, seen, names = [], set(), Counter()
    for file in FILES[lang]:
        text = (ADAPTERS / lang / file).read_text(encoding="utf-8")
        for operator, start, end, new in sorted(edits(text, lang), key=lambda edit: (edit[1], edit)):
            changed = text[:start] + new + text[end:]
            if changed.split() == text.split() or changed in seen:
                continue
            seen.add(changed)
            name = f"{file}:{text.count(chr(10), 0, start) + 1}:{operator}"
            names[name] += 1
            name += f".{names[name]}" if names[name] > 1 else ""
            mark = hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
            if ("tuning", "measure")[int(mark[0], 16) % 2] == half:
                all_of_them.append((mark[1:], name, file, changed))
    return [mutant[1:] for mutant in sorted(all_of_them)]


def call(command, folder, patience, given=""):
    """Runs a program with all that it starts; (exit, output), and exit None when it took too long."""
    process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, start_new_session=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        output, _ = process.communicate(given, timeout=patience)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, ""


def judge(suite, lang, file=None, changed=None):
    """What the suite says of a mutant, or of the registry as it stands."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / lang
        shutil.copytree(ADAPTERS / lang, folder)
        if file:
            (folder / file).write_text(changed, encoding="utf-8")
        if lang == "go" and call(["go", "build", "-o", "adapter", "."], folder, 300)[0] != 0:
            return {"outcome": "no registry"}
        hello = '{"type":"hello","protocol":1}\n{"type":"bye"}\n'
        if '"hello"' not in call(START[lang], folder, 20, hello)[1]:
            return {"outcome": "no registry"}
        began, report = time.monotonic(), Path(work) / "report.json"
        command = [suite, "run", "--seed", "1", "--scripts", "2000", "--time", "60", "--save", f"{work}/kept"]
        code, output = call([*command, "--json", report, "--", *START[lang]], folder, 400)
        said = json.loads(report.read_text()) if report.exists() else {}
        failures = [{"id": failure["violation"]["requirement"], "level": failure["level"],
                     "cause": failure["violation"]["cause"], "found_by": failure["found_by"], "again": failure["again"]}
                    for failure in said.get("failures", [])]
        faults = [fault["message"][:400] for fault in said.get("faults", [])]
        outcome = OUTCOMES.get(code, f"exit {code}")
        if code == 3 and len(faults) >= said.get("scripts", 0) > 0:
            outcome = "no registry"
        return {"outcome": outcome, "seconds": round(time.monotonic() - began, 1), "scripts": said.get("scripts"),
                "failures": failures, "faults": faults, "warnings": said.get("warnings", [])[:3], "said": output}


def main():
    options = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1])
    options.add_argument("--suite", type=os.path.abspath)
    options.add_argument("--lang", choices=FILES, required=True)
    options.add_argument("--half", choices=["tuning", "measure"], default="tuning")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--sample", type=int, default=sys.maxsize)
    options.add_argument("--out", type=Path, default=Path("target/operators"))
    options.add_argument("--only", action="append")
    options.add_argument("--pause", type=Path)
    options.add_argument("--list", action="store_true")
    given = options.parse_args()
    found = mutants(given.lang, given.half, given.seed)
    found = [mutant for mutant in found if not given.only or mutant[0] in given.only]
    if given.list:
        print("\n".join(name for name, _, _ in found))
        return 0
    if (clean := judge(given.suite, given.lang))["outcome"] != "survivor":
        print(f"the registry as it stands: {clean['outcome']}\n{clean.get('said', '')}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    records, counts = [], Counter()
    for name, file, changed in found:
        if counts.total() - counts["no registry"] >= given.sample:
            break
        while given.pause and given.pause.exists():
            time.sleep(5)
        record = {"name": name, **judge(given.suite, given.lang, file, changed)}
        original = (ADAPTERS / given.lang / file).read_text(encoding="utf-8")
        lines = (text.splitlines(keepends=True) for text in (original, changed))
        record["patch"] = "".join(difflib.unified_diff(*lines, f"a/{given.lang}/{file}", f"b/{given.lang}/{file}", n=1))
        counts[record["outcome"]] += 1
        if record["outcome"] != "no registry":
            must = [failure["id"] for failure in record["failures"] if failure["level"] == "M"]
            print(f"{name:34} {record['outcome']:13} {record['seconds']:6}  {' '.join(must)}", flush=True)
            place = given.out / name.replace(":", "-")
            place.with_name(place.name + ".diff").write_text(record["patch"], encoding="utf-8")
            place.with_name(place.name + ".txt").write_text(record.pop("said"), encoding="utf-8")
        records.append(record)
        whole = {"lang": given.lang, "half": given.half, "seed": given.seed, "counts": counts, "mutants": records}
        (given.out / f"{given.lang}.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    registries = counts.total() - counts["no registry"]
    print(f"{given.lang}: {registries} registries, " + ", ".join(f"{counts[key]} {key}" for key in sorted(counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
