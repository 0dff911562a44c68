"""Prints pytest's junit file as lines `kind TAB name TAB reason`; a broken run is one FAIL."""
import os
import sys
import xml.etree.ElementTree as tree


def one_line(text):
    lines = (text or "").strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


def main(path, log):
    if not os.path.exists(path):
        lines = open(log, errors="replace").read().strip().splitlines()
        print("FAIL", "e2e", lines[-1] if lines else "pytest did not run", sep="\t")
        return
    for case in tree.parse(path).iter("testcase"):
        name = "e2e/%s::%s" % (case.get("classname", "").split(".")[-1], case.get("name"))
        kind, reason = "ok", ""
        for result in case:
            if result.tag in ("failure", "error"):
                kind, reason = "FAIL", one_line(result.get("message"))
            elif result.tag == "skipped" and kind == "ok":
                kind, reason = "skip", one_line(result.get("message"))
        print(kind, name, reason, sep="\t")


main(*sys.argv[1:])
