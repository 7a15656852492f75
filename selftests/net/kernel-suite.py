#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes a table of what kernel-suite.sh has printed: kernel-suite.py LOG

A test passes, fails, is skipped, or is one that the driver cannot pass by its kind
(xfail, n/a). Exit status 1 if the C driver passes one that the other driver does not.
"""
import re
import sys

OURS, C = "coop_e1000", "e1000"
RESULT = re.compile(r"^(not ok|ok) \d+ (\S+?)(?:\s+#\s*(.*))?$")
# Those that do not say themselves that they are not for a device of this kind, or this kernel.
NOT_APPLICABLE = {
    # Its queue_count=2 is for netdevsim only.
    r"napi_threaded\.napi_init": "needs two queues: ksft_ge(combined, 2)",
    r"napi_threaded\.": "needs two queues: ksft_ge(len(napis), 2), and uses napis[1]",
    r"(rss_|toeplitz)": "needs a hash that chooses among queues, the device has one queue",
    r"xdp\.": "needs XDP in the driver",
    r"psp\.": "this kernel is built without PSP",
}


def judge(name, result):
    """The result of a test, and why it is not another one."""
    for pattern, reason in NOT_APPLICABLE.items():
        if result[0] not in ("pass", "-") and re.match(pattern, name):
            return "n/a", reason
    return result


def parse(lines):
    """For each driver and test: the result, and the reason given for it."""
    results, driver, script, last = {OURS: {}, C: {}}, None, None, ""
    for line in lines:
        line = line.rstrip()
        if m := re.match(r"^@@ status (\d+)$", line):
            seen = any(name.startswith(script + ".") for name in results[driver])
            if not seen or m[1] in ("124", "137"):
                word = {"0": "pass", "4": "skip", "124": "no end"}.get(m[1], "fail")
                results[driver][script + ".*"] = (word, last)
        elif m := re.match(r"^@@ (\S+) (\S+)\.py$", line):
            driver, script, last = m[1], m[2].split("/")[-1], ""
        elif m := RESULT.match(line):
            word, name, comment = m[1], m[2], m[3] or ""
            if s := re.match(r"(SKIP|XFAIL)\s*(.*)", comment, re.I):
                results[driver][name] = (s[1].lower(), s[2])
            else:
                results[driver][name] = ("pass", "") if word == "ok" else ("fail", last)
            last = ""
        elif line.startswith("# ") and not line.startswith(("# Totals", "# ####")):
            text = re.sub(r"^#\s*(Exception\|\s*)?", "", line)
            if text and not text.startswith(("File", "Traceback", "Interface")):
                last = text
        elif "kernel log" in line:
            last = line
    return results


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        results = parse(log)
    for tests in results.values():
        for name, result in tests.items():
            tests[name] = judge(name, result)
    names = list(results[OURS]) + [n for n in results[C] if n not in results[OURS]]
    worse = []
    print("| test | sample driver | C driver | what is said |\n| --- | --- | --- | --- |")
    for name in names:
        ours, why = results[OURS].get(name, ("-", ""))
        theirs, why_c = results[C].get(name, ("-", ""))
        if theirs == "pass" and ours != "pass":
            worse.append(name)
        said = why or why_c
        print(f"| `{name}` | {ours} | {theirs} | {said[:100].replace('|', '/')} |")
    for what in (OURS, C):
        words = [word for word, _ in results[what].values()]
        print(f"\n{what}:", ", ".join(f"{words.count(w)} {w}" for w in sorted(set(words))))
    if worse:
        print("\nworse than the C driver:", ", ".join(worse))
    return 1 if worse else 0


sys.exit(main())
