"""tests/bench/RESULTS.md: the figures of one run, beside the goals and what others reach.

The others' figures were measured once on a machine of the same kind and are quoted, not run: an
honest ratio needs both in one run.
"""
import statistics

# Median of: posts/s and p50 / p99 ms of etcd 3.4 (Raft, fsync), RabbitMQ 3.10 quorum queues (Raft,
# fsync), and NATS 2.9 JetStream R3, which does not fsync before it acknowledges.
OTHERS = {1: ("1.3 k, 0.74/1.4", "1.0 k, 0.91/2.4", "4.5 k, 0.20/0.49"),
          16: ("5.6 k, 2.6/9.6", "6.2 k, 2.4/5.7", "18 k, 0.73/3.8"),
          256: ("16 k, 14/40", "27 k, 8.9/19", "63 k, 3.3/14"),
          1024: ("21 k, 39/114", "25 k, 37/108", "79 k, 12/33")}


def thousands(number):
    return "%.2f M" % (number / 1e6) if number >= 1e6 else \
        "%.0f k" % (number / 1e3) if number >= 1e4 else "%.1f k" % (number / 1e3)


def ms(us):
    return "%.2f" % (us / 1000) if us < 10000 else "%.0f" % (us / 1000)


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def writes(found):
    lines = ["## Writes", "",
             "Committed posts of 128 bytes a second: encrypted, signed in, each on the disks of a "
             "majority before it is", "acknowledged. Median of the runs (lowest to highest); "
             "p50 / p99 in ms.", "",
             "| connections x depth | placed | posts/s | p50 / p99 | etcd 3.4 | RabbitMQ 3.10 | "
             "NATS 2.9, **no fsync** |", "|---|---|---|---|---|---|---|"]
    for runs in found:
        first = runs[0]
        rates = [run["posts_per_s"] for run in runs]
        lines.append("| %d x %d | %s | **%s** (%s to %s) | %s / %s | %s |" % (
            first["connections"], first["depth"],
            "on all nodes" if first["placement"] == "spread" else "on the leader",
            thousands(statistics.median(rates)), thousands(min(rates)), thousands(max(rates)),
            ms(median(runs, "p50_us")), ms(median(runs, "p99_us")),
            " | ".join(OTHERS[first["connections"] * first["depth"]])))
    return lines + [""]


def fan_out(found):
    lines = ["## One room, 100 readers on all nodes", "",
             "| window | posts/s | delivered/s | sent to read, p50 / p99 ms |", "|---|---|---|---|"]
    for run, rate in found:
        lines.append("| %d%s | %s | %s | %s / %s |" % (
            run["connections"] * run["depth"], ", at %d posts/s" % rate if rate else "",
            thousands(run["posts_per_s"]), thousands(run["delivered_per_s"]),
            ms(run["delivery_p50_us"]), ms(run["delivery_p99_us"])))
    return lines + ["", "Others, without encryption: NATS 3.3 M/s at a window of 256 (0.42 / 1.5 ms "
                    "at 1,000 posts/s), ngircd 1.25 M/s (8.5 / 17 ms).", ""]


def failover(title, times, others):
    ordered = sorted(times)
    return ["### " + title, "",
            "%d trials: median **%.0f ms**, p90 %.0f ms, worst %.0f ms. %s" % (
                len(times), statistics.median(times), ordered[len(ordered) * 9 // 10], ordered[-1],
                others), "",
            "All, in the order they came: " + ", ".join("%.1f" % each for each in times), ""]


def sizes(found):
    per_post = found["bytes_per_post"]
    rows = [
        ("memory of a node, idle", "%.1f MiB" % found["idle_mib"], "6 MiB", "etcd 26, NATS 14"),
        ("after %s posts were written" % thousands(found["posts"]), "%.1f MiB" % found["full_mib"],
         "16 MiB", "etcd 486, NATS 26"),
        ("with %s posts, started again" % thousands(found["posts"]),
         "%.1f MiB" % found["restarted_mib"], "16 MiB", ""),
        ("memory of a node for each of %d logged-in, idle, encrypted connections, their accounts "
         "included" % (found["idle"] // 3),
         "%.1f KiB" % (found["connection_bytes"] / 1024), "1.5 KiB",
         "etcd 69, NATS 19, ngircd 2.7 (plain text)"),
        ("cold start of all three nodes to the first acknowledgement",
         " / ".join("%.2f" % each for each in found["cold_start_s"]) + " s", "0.1 s",
         "etcd 7.2, NATS 4-7"),
        ("bytes on disk for a post of 128 bytes, its index included",
         "%.0f" % per_post if per_post else "-", "200", "etcd 422, NATS 164"),
    ]
    return (["## Sizes, and the start", "", "| | here | goal | others |", "|---|---|---|---|"] +
            ["| %s | **%s** | %s | %s |" % row for row in rows] + [""])


def text(found):
    limits = found["limits"]
    lines = ["# What was measured", "",
             "Made by `make bench` (tests/bench/run): %s, version %s, %d cores (%s), Linux %s, "
             "%s." % (found["date"], found["version"], found["cores"], found["processor"],
                      found["kernel"], found["file_system"]), "",
             "Three nodes, the load and the measuring share these cores, over loopback. Other work "
             "on the machine while it ran: load", "average %.1f before, %.1f after (the bench itself "
             "is in the second). %s" % (found["load_before"], found["load_after"], found["remark"]),
             "", "The machine itself (the best of three takings, between the others): fdatasync of 4 KiB over a zero-written "
             "file p50 **%.0f us**, p99 %.0f us; a" % (limits["fdatasync_4k_p50_us"],
                                                     limits["fdatasync_4k_p99_us"]),
             "loopback round trip of 128 bytes that wakes a sleeper on another core p50 **%.0f us**,"
             " p99 %.0f us." % (limits["round_trip_p50_us"], limits["round_trip_p99_us"]), ""]
    lines += writes(found["writes"])
    lines += ["Writers do not stream their rooms here (the others' tools do not either); one post "
              "at a time costs two messages and", "two fdatasyncs side by side.", ""]
    lines += fan_out(found["fan_out"])
    lines += ["## The leader fails", "",
              "From the signal to the acknowledgement of a post that a client on a survivor sent "
              "after it, one at a time.", ""]
    lines += failover("kill -9", found["kill"],
                      "Others, median (worst): etcd 1297 (2773), RabbitMQ 253 (430), NATS 5031 (6483).")
    lines += failover("SIGSTOP", found["stop"],
                      "Others: etcd 1247 (1456), RabbitMQ 8493 (8967), NATS 5736 (12797).")
    healing = found["healing"]
    lines += ["## What the monitors heal", "",
              "From the signal to `ready` with a quorum of a client that knows this node only; or, of two, to the "
              "acknowledgement of a post on the third.", ""]
    lines += failover("kill -9 of a node", healing["killed"], "Goal: 500 ms.")
    lines += failover("SIGSTOP of a node", healing["hung"],
                      "Goal: `pulse_timeout_ms` (3000) and 500 ms.")
    lines += failover("kill -9 of two of three at once", healing["two"], "Goal: 2000 ms.")
    lines += sizes(found["sizes"])
    return "\n".join(lines)
