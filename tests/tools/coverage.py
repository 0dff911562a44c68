#!/usr/bin/python3
"""Sums what gcov says of build/native-coverage; names what was missed, and prints a table.

Bars (tests): every branch of core/raft, of store (but disk_posix.c), of net/frame.c, net/noise.c and the
channel's files beside them; of all sources 95 % of the lines. What a CHECK can branch to does not count: it
ends the process. Other branches that cannot be reached are named in tests/coverage_exclusions, each with
its reason: at most 20, and each of them must still be one that is not reached.

usage: coverage.py OBJECTS [--bar] [--no-line-bar] [--missed WORD]
    --bar           exit status 1 when a bar is not reached
    --no-line-bar   the bar of lines does not count (the end-to-end tests were left out)
    --missed WORD   names the branches missed in all files with WORD, and prints no table
Exit status 2: the list of exclusions is not right, or a part of the objects could not be read.
"""
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys

BRANCH_ROOMS = ("core/raft/", "store/", "net/frame.c", "net/noise.c", "net/channel.c", "net/channel_flush.c",
                "net/channel_open.c", "net/channel_receive.c")
BRANCH_FREE = ("store/disk_posix.c",)
ROOMS = ("main.c", "cmd/", "core/", "net/", "store/")
LINE_BAR = 95.0
EXCLUSIONS = "tests/coverage_exclusions"
EXCLUSIONS_MOST = 20


def fail(message):
    print(f"coverage: {message}", file=sys.stderr)
    sys.exit(2)


def gcov(data):
    run = subprocess.run(["gcov", "--json-format", "--stdout", "-b", os.path.basename(data)],
                         cwd=os.path.dirname(data), capture_output=True)
    if run.returncode:
        fail(f"{data} was built anew since it ran")
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]


def shown(path):
    """The path inside the tree, or None for what is not the project's."""
    path = os.path.normpath(path if not os.path.isabs(path) else os.path.relpath(path))
    return path if path.startswith(ROOMS) else None


def collect(objects):
    """lines[file][line] = count; branches[file][line] = counts, summed over all objects."""
    lines = collections.defaultdict(lambda: collections.defaultdict(int))
    branches = collections.defaultdict(dict)
    found = [os.path.join(folder, name) for folder, _, names in os.walk(objects) for name in names
             if name.endswith(".gcno") and "/tests/" not in os.path.join(folder, "")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for reports in pool.map(gcov, found):
            for report in reports:
                for entry in report["files"]:
                    name = shown(entry["file"])
                    if not name:
                        continue
                    functions = collections.defaultdict(list)
                    for line in entry["lines"]:
                        lines[name][line["line_number"]] += line["count"]
                        key = (line["line_number"], line.get("function_name", ""))
                        functions[key] += [branch["count"] for branch in line["branches"]]
                    for (number, function), counts in functions.items():
                        if not counts:
                            continue
                        old = branches[name].setdefault((number, function), [0] * len(counts))
                        if len(old) != len(counts):
                            continue  # compiled differently elsewhere: the first one counts
                        branches[name][(number, function)] = [a + b for a, b in zip(old, counts)]
    return lines, branches


def check_lines(source):
    """The numbers of the lines that belong to a CHECK."""
    inside, found = False, set()
    for number, text in enumerate(source, 1):
        if re.search(r"\bCHECK\(", text):
            inside = True
        if inside:
            found.add(number)
            inside = not text.rstrip().endswith(";")
    return found


class Exclusion:
    """One line of EXCLUSIONS, FILE | TEXT | REASON: the branches of the lines of FILE with TEXT in them."""

    def __init__(self, line):
        parts = [part.strip() for part in line.split("|", 2)]
        if len(parts) < 3 or not all(parts):
            fail(f"{EXCLUSIONS}: not FILE | TEXT | REASON: {line.strip()}")
        self.name, self.text, _ = parts
        self.lines = self.missed = 0

    def covers(self, name, text):
        return self.name == name and self.text in text


def read_exclusions():
    lines = open(EXCLUSIONS).readlines() if os.path.exists(EXCLUSIONS) else []
    found = [Exclusion(line) for line in lines if line.strip() and not line.startswith("#")]
    if len(found) > EXCLUSIONS_MOST:
        fail(f"{len(found)} exclusions, at most {EXCLUSIONS_MOST}")
    return found


class File:
    """What counts of one source file."""

    def __init__(self, name, lines, branches, exclusions):
        source = open(name).read().splitlines()
        checks = check_lines(source)
        self.name = name
        self.judged = name.startswith(BRANCH_ROOMS) and name not in BRANCH_FREE
        self.lines = len(lines)
        self.hit = sum(1 for count in lines.values() if count)
        self.branches = 0
        self.missed = []  # (line, which were never taken, of how many, text)
        for (number, _), counts in sorted(branches.items()):
            text = source[number - 1]
            never = [which for which, count in enumerate(counts, 1) if not count]
            excluded = [exclusion for exclusion in exclusions if exclusion.covers(name, text)]
            for exclusion in excluded:
                exclusion.lines += 1
                exclusion.missed += len(never)
            if number in checks or excluded:
                continue
            self.branches += len(counts)
            if never:
                self.missed.append((number, never, len(counts), text.strip()))
        self.never = sum(len(never) for _, never, _, _ in self.missed)

    def print_missed(self):
        for number, never, of, text in self.missed:
            print(f"{self.name}:{number}: branch {', '.join(map(str, never))} of {of}: {text}")


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def print_table(files):
    print(f"{'file':<34}{'lines':>8}{'':>8}{'branches':>12}")
    for file in files:
        print(f"{file.name:<34}{percent(file.hit, file.lines):7.1f}% of {file.lines:<5}"
              f"{percent(file.branches - file.never, file.branches):7.1f}% of {file.branches:<5}"
              f"{'*' if file.judged else ''}")


def main():
    arguments = sys.argv[1:]
    missed = arguments[arguments.index("--missed") + 1] if "--missed" in arguments else None
    line_bar = "--no-line-bar" not in arguments
    exclusions = read_exclusions()
    lines, branches = collect(arguments[0])
    files = [File(name, lines[name], branches[name], exclusions) for name in sorted(lines)]
    for file in files:
        if missed in file.name if missed is not None else file.judged:
            file.print_missed()
    if missed is not None:
        return 0
    print_table(files)
    judged = [file for file in files if file.judged]
    never, of = sum(file.never for file in judged), sum(file.branches for file in judged)
    lines_now = percent(sum(file.hit for file in files), sum(file.lines for file in files))
    print(f"branches of what is marked: {percent(of - never, of):.2f} % ({never} of {of} never taken), the "
          f"bar is 100 %; {len(exclusions)} exclusions, at most {EXCLUSIONS_MOST}")
    print(f"lines of everything: {lines_now:.2f} %, the bar is {LINE_BAR:.0f} %"
          + ("" if line_bar else " (not judged without the end-to-end tests)"))
    for exclusion in exclusions:
        if not exclusion.lines:
            fail(f"{EXCLUSIONS}: there is no such branch any more: {exclusion.name} | {exclusion.text}")
        if not exclusion.missed:
            fail(f"{EXCLUSIONS}: reached after all: {exclusion.name} | {exclusion.text}")
    return int("--bar" in arguments and (never > 0 or (line_bar and lines_now < LINE_BAR)))


sys.exit(main())
