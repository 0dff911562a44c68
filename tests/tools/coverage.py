#!/usr/bin/python3
"""Sums what gcov says of build/native-coverage, prints a table, and fails below the bars.

Bars (tests): every branch of core/raft, store (but disk_posix.c), net/frame.c and net/noise.c, and of all
sources 95 % of the lines. What a CHECK can branch to does not count: it ends the process. Other
branches that cannot be reached are named in tests/coverage_exclusions, each with its reason.

usage: coverage.py OBJECTS [--no-line-bar] [--missed WORD]   (--missed: names the lines, of files with WORD)
"""
import collections
import concurrent.futures
import json
import os
import re
import subprocess
import sys

BRANCH_ROOMS = ("core/raft/", "store/", "net/frame.c", "net/noise.c")
BRANCH_FREE = ("store/disk_posix.c",)
ROOMS = ("main.c", "cmd/", "core/", "net/", "store/")
LINE_BAR = 95.0
EXCLUSIONS = "tests/coverage_exclusions"
EXCLUSIONS_MOST = 20


def gcov(data):
    run = subprocess.run(["gcov", "--json-format", "--stdout", "-b", os.path.basename(data)],
                         cwd=os.path.dirname(data), capture_output=True)
    if run.returncode:
        print(f"coverage: {data} was built anew since it ran", file=sys.stderr)
        return []
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


def read_exclusions():
    """[(file, text of the line)]; each line of the file: FILE | TEXT | REASON."""
    found = []
    if os.path.exists(EXCLUSIONS):
        for line in open(EXCLUSIONS):
            if line.strip() and not line.startswith("#"):
                name, text, reason = (part.strip() for part in line.split("|", 2))
                assert reason, line
                found.append((name, text))
    if len(found) > EXCLUSIONS_MOST:
        sys.exit(f"coverage: {len(found)} exclusions, at most {EXCLUSIONS_MOST}")
    return found


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def main():
    objects = sys.argv[1]
    line_bar = "--no-line-bar" not in sys.argv
    missed = sys.argv[sys.argv.index("--missed") + 1] if "--missed" in sys.argv else None
    lines, branches = collect(objects)
    exclusions, used = read_exclusions(), set()
    rows, all_lines, all_hit, all_branches, all_taken = [], 0, 0, 0, 0
    for name in sorted(lines):
        source = open(name).read().splitlines()
        checks = check_lines(source)
        hit = sum(1 for count in lines[name].values() if count)
        taken = total = 0
        for (number, _), counts in sorted(branches[name].items()):
            excluded = [e for e in exclusions if e[0] == name and e[1] in source[number - 1]]
            used.update(excluded)
            if number in checks or excluded:
                continue
            total += len(counts)
            taken += sum(1 for count in counts if count)
            if missed and missed in name and not all(counts):
                print(f"{name}:{number}: {counts} {source[number - 1].strip()}")
        judged = name.startswith(BRANCH_ROOMS) and name not in BRANCH_FREE
        if judged:
            all_branches += total
            all_taken += taken
        all_lines += len(lines[name])
        all_hit += hit
        rows.append((name, hit, len(lines[name]), taken, total, judged))
    if missed:
        return
    print(f"{'file':<34}{'lines':>8}{'':>8}{'branches':>12}")
    for name, hit, whole, taken, total, judged in rows:
        print(f"{name:<34}{percent(hit, whole):7.1f}% of {whole:<5}{percent(taken, total):7.1f}% of "
              f"{total:<5}{'*' if judged else ''}")
    for entry in exclusions:
        if entry not in used:
            sys.exit(f"coverage: {EXCLUSIONS}: no such line any more: {entry[0]} | {entry[1]}")
    lines_now, branches_now = percent(all_hit, all_lines), percent(all_taken, all_branches)
    print(f"branches of what is marked: {branches_now:.2f} % ({all_branches - all_taken} of {all_branches} "
          f"never taken), the bar is 100 %; {len(exclusions)} exclusions")
    print(f"lines of everything: {lines_now:.2f} % of {all_lines}, the bar is {LINE_BAR:.0f} %"
          + ("" if line_bar else " (not judged without the end-to-end tests)"))
    sys.exit(all_taken < all_branches or (line_bar and lines_now < LINE_BAR))


main()
