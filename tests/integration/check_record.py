#!/usr/bin/python3
"""Checks records of sonde (JSON, sonde.record/1): against the schema, then what a schema cannot say.

As a module: check_record.problems(record) gives a list of texts, empty where all is well;
check_record.load(text) parses as strictly as JSON itself (no NaN, no key twice).
As a command: check_record.py [--incomplete] FILE... ("-" is standard input), exit status 1 and a
line for each problem where something is wrong. --incomplete accepts only records that say
`"complete": false`; without it, both are accepted.
"""

import base64
import json
import math
import pathlib
import statistics
import struct
import sys
import zlib

import jsonschema

SCHEMA_FILE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"


def schema():
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def _refuse_duplicates(pairs):
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice in one object")
    return dict(pairs)


def load(text):
    """Parses a record; ValueError where it is not strict JSON."""
    return json.loads(
        text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates
    )


def _schema_problems(record):
    validator = jsonschema.Draft202012Validator(schema())
    for error in validator.iter_errors(record):
        best = jsonschema.exceptions.best_match([error]) or error
        yield f"{best.json_path}: {best.message[:300]}"


def _complete_problems(record):
    whole = record["error"] is None and all(run["complete"] for run in record["runs"])
    if record["complete"] and not whole:
        yield "$.complete: true although an error or an incomplete run stands in it"
    for i, run in enumerate(record["runs"]):
        if run["complete"] and run["error"] is not None:
            yield f"$.runs[{i}].complete: true although its error is {run['error']}"
    for name in record["options_given"]:
        if name not in record["options"]:
            yield f"$.options_given: {name} is no option"


def _encoded_header(encoded):
    """The cookies of the compressed V2 encoding and of what is in it."""
    raw = base64.b64decode(encoded, validate=True)
    cookie, length = struct.unpack(">II", raw[:8])
    inner = zlib.decompress(raw[8 : 8 + length])
    return cookie, struct.unpack(">I", inner[:4])[0]


def _encoded_count(encoded):
    """Sum of the counts of an encoded histogram, by the format's own definition: after a header of
    40 bytes ZigZag LEB128 numbers, negative ones being runs of zeroes."""
    raw = base64.b64decode(encoded, validate=True)
    inner = zlib.decompress(raw[8:])
    payload = struct.unpack(">I", inner[4:8])[0]
    body, at, total = inner[40 : 40 + payload], 0, 0
    while at < len(body):
        value = shift = 0
        for position in range(9):
            byte = body[at]
            at += 1
            if position == 8:  # the ninth byte carries eight bits
                value |= byte << shift
                break
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        number = (value >> 1) ^ -(value & 1)
        total += max(number, 0)
    return total


def _histogram_problems(where, histogram):
    values = [v for v in histogram["percentiles"].values() if v is not None]
    if values != sorted(values):
        yield f"{where}.percentiles: not in order"
    if histogram["count"] == 0:
        for key in ("min", "mean", "max"):
            if histogram[key] is not None:
                yield f"{where}.{key}: a value of an empty histogram"
    else:
        low, mean, high = histogram["min"], histogram["mean"], histogram["max"]
        # The mean is over the middles of buckets that are 0.1 % wide.
        if None in (low, mean, high) or not low * 0.999 <= mean <= high * 1.001:
            yield f"{where}: min {low}, mean {mean}, max {high} are not in order"
        elif values and values[-1] > high:
            yield f"{where}.percentiles: above the maximum"
    for text, value in histogram["percentiles"].items():
        share = min(float(text), 100 - float(text))
        tail = histogram["count"] * share / 100
        if value is not None and tail < (5 if share >= 25 else 10) - 1e-6:
            yield f"{where}.percentiles.{text}: given although only {tail:.1f} values lie beyond"
    try:
        cookies = _encoded_header(histogram["encoded"])
        if cookies != (0x1C849314, 0x1C849313) and cookies != (0x1C849304, 0x1C849303):
            yield f"{where}.encoded: cookies {cookies}"
        elif _encoded_count(histogram["encoded"]) != histogram["count"]:
            yield f"{where}.encoded: holds another number of values than count says"
    except (ValueError, IndexError, struct.error, zlib.error) as error:
        yield f"{where}.encoded: {error}"


def _close(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


def _calls_problems(where, calls):
    if not calls["available"]:
        return
    names = [call["name"] for call in calls["syscalls"]]
    if len(names) != len(set(names)):
        yield f"{where}.syscalls: a name stands twice"
    for call in calls["syscalls"]:
        each, operations = call["calls_per_operation"], calls["operations"]
        if (each is None) != (operations is None):
            yield f"{where}.{call['name']}: calls_per_operation does not fit operations"
        elif each is not None and not _close(each, call["calls"] / operations):
            yield f"{where}.{call['name']}: calls_per_operation is not calls / operations"
        if sum(call["errors"].values()) > call["calls"]:
            yield f"{where}.{call['name']}: more errors than calls"


def _process_problems(where, process):
    for part in ("user", "system"):
        each = process["cpu_per_operation"][part]["value"]
        total, operations = process[f"cpu_{part}_ns"], process["cpu_operations"]
        if (each is None) != (total is None or operations is None):
            yield f"{where}.cpu_per_operation.{part}: does not fit its total"
        elif each is not None and not _close(each, total / operations):
            yield f"{where}.cpu_per_operation.{part}: is not total / operations"
    yield from _calls_problems(f"{where}.engine_calls", process["engine_calls"])
    yield from _calls_problems(f"{where}.kernel_calls", process["kernel_calls"])


def _distribution_problems(where, distribution):
    """The classes of a power-of-two histogram, in order, and a sum that they allow."""
    classes = distribution["classes"]
    lows = [-1 if c["low"] is None else c["low"] for c in classes]
    if lows != sorted(set(lows)):
        yield f"{where}.classes: not in order"
    for c in classes:
        low, high = c["low"], c["high"]
        negative, zero = (low, high) == (None, -1), (low, high) == (0, 0)
        power = low is not None and low > 0 and low & (low - 1) == 0 and high == 2 * low - 1
        if not (negative or zero or power):
            yield f"{where}.classes: {low} .. {high} is no class"
    least = sum(c["count"] * c["low"] for c in classes if c["low"] is not None)
    most = sum(c["count"] * c["high"] for c in classes if c["low"] is not None)
    total = distribution["sum"]
    if total is not None and not least * (1 - 1e-9) <= total <= most * (1 + 1e-9):
        yield f"{where}.sum: {total} is not between {least} and {most}"


def _effect_problems(where, effect):
    if effect["low"] is not None and not effect["low"] <= effect["ratio"] <= effect["high"]:
        yield f"{where}: the ratio lies outside of its interval"


def _probe_problems(where, run):
    probes = {probe["name"]: probe for probe in run["probes"]}
    if len(probes) != len(run["probes"]):
        yield f"{where}.probes: a name stands twice"
    for i, probe in enumerate(run["probes"]):
        yield from _effect_problems(f"{where}.probes[{i}].effect", probe["effect"])
        if probe["operations"] is not None and probe["window_ns"] == 0:
            yield f"{where}.probes[{i}]: operations in no time"
        seen = any(value["value"] for row in probe["rows"] for value in row["metrics"].values())
        if not probe["available"] and (seen or probe["distributions"]) and probe["window_ns"]:
            yield f"{where}.probes[{i}]: it saw something, but is not available"
        for k, distribution in enumerate(probe["distributions"]):
            yield from _distribution_problems(f"{where}.probes[{i}].distributions[{k}]",
                                              distribution)
    # Probes that take turns share the time with each other and with the unobserved parts; those
    # that do not are all on for the whole window, and say so.
    seen = [probe["window_ns"] for probe in run["probes"]]
    together = run["mode"] == "observed"
    # A peer of sonde's own has parts of its own, which begin and end when it hears of it.
    elsewhere = run["detail"].startswith("sonde://")
    if not together and not elsewhere and run["window_ns"] + sum(seen) > run["wall_ns"] * 1.001 + 1e6:
        yield f"{where}.probes: their time and window_ns are longer than wall_ns"
    if together and any(window_ns != run["window_ns"] for window_ns in seen):
        yield f"{where}.probes: their time is not window_ns"
    calls = probes.get("syscalls")
    for i, process in enumerate(run["processes"]):
        counted = process["kernel_calls"]
        if elsewhere and process["role"] == "server":
            continue
        if calls and counted["available"] and (
                counted["window_ns"] != calls["window_ns"]
                or counted["operations"] != calls["operations"]):
            yield f"{where}.processes[{i}].kernel_calls: not over the time of the probe syscalls"
    serving = [probe for probe in run["probes"] if probe["available"]]
    headline = calls if calls and calls["available"] else serving[0] if serving else None
    if headline and not together and headline["effect"] != run["probe_effect"]:
        yield f"{where}.probe_effect: is not that of the probe {headline['name']}"


def _transfer_problems(where, run):
    """Of `ipc`: what its metrics say follows from what stands beside them."""
    values = {key: metric["value"] for key, metric in run["metrics"].items()}
    if "transfers" not in values:
        return
    ends = {process["role"]: process for process in run["processes"]
            if process["role"] in ("sender", "receiver", "both")
            and process["engine_calls"]["available"]}
    kib = values["bytes"] / 1024
    cpu = {role: end["cpu_user_ns"] + end["cpu_system_ns"] for role, end in ends.items()}
    expected = {"cpu_ns_per_kib": sum(cpu.values()) / kib}
    for role, end in ends.items():
        switches = end["context_switches"]
        calls = end["engine_calls"]["syscalls"]
        if role != "both":
            expected[role + "_cpu_ns_per_kib"] = cpu[role] / kib
            expected[role + "_switches_per_block"] = (
                (switches["voluntary"] + switches["involuntary"]) / values["blocks"])
            expected[role + "_calls_per_block"] = (
                sum(call["calls"] for call in calls) / values["blocks"])
            moving = sum(call["calls"] - sum(call["errors"].values()) for call in calls
                         if call["bytes"])
            if moving and role + "_bytes_per_call" in values:
                expected[role + "_bytes_per_call"] = (
                    sum(call["bytes"] for call in calls) / moving)
    for key, value in expected.items():
        if values.get(key) is None or not math.isclose(values[key], value, rel_tol=1e-6):
            yield f"{where}.metrics.{key}: {values.get(key)}, but its parts say {value}"
    time = run["histograms"].get("transfer_time")
    if run["complete"] and time and time["count"] + time["out_of_range"] != values["transfers"]:
        yield f"{where}.histograms.transfer_time: of {time['count']} transfers"


def _flow_problems(where, flows):
    """Each connection once at each end, and their sum where there are several."""
    for role in sorted({row["role"] for row in flows}):
        rows = [row for row in flows if row["role"] == role]
        names = [row["what"] for row in rows]
        if len(names) != len(set(names)):
            yield f"{where}: a flow of the {role} stands twice"
        single = [row for row in rows if not row["what"].startswith("all ")]
        sums = [row for row in rows if row["what"].startswith("all ")]
        if len(sums) != (len(single) > 1) or sums and sums[0]["what"] != f"all {len(single)}":
            yield f"{where}: {len(single)} flows of the {role}, but {[row['what'] for row in sums]}"
            continue
        for row in sums:
            for key in ("sent_bytes", "received_bytes", "retransmits"):
                parts = [one["metrics"].get(key, {"value": None})["value"] for one in single]
                total = row["metrics"].get(key, {"value": None})["value"]
                if total is not None and total != sum(part or 0 for part in parts):
                    yield f"{where}: {key} of all of the {role} is not the sum"


def _run_problems(where, run):
    if run["window_ns"] > run["wall_ns"] * 1.001 + 1e6:
        yield f"{where}.window_ns: longer than wall_ns"
    for key, histogram in run["histograms"].items():
        if (histogram["role"] == "server") != key.startswith("server_"):
            yield f"{where}.histograms.{key}: its role is {histogram['role']}"
        yield from _histogram_problems(f"{where}.histograms.{key}", histogram)
    for i, process in enumerate(run["processes"]):
        yield from _process_problems(f"{where}.processes[{i}]", process)
    yield from _effect_problems(f"{where}.probe_effect", run["probe_effect"])
    yield from _probe_problems(where, run)
    yield from _transfer_problems(where, run)
    yield from _flow_problems(f"{where}.flows", run.get("flows", []))
    for i, interval in enumerate(run["intervals"]):
        yield from _flow_problems(f"{where}.intervals[{i}].flows", interval.get("flows", []))
    starts = [interval["start_ns"] for interval in run["intervals"]]
    if starts != sorted(starts):
        yield f"{where}.intervals: not in order"


def _group(entry):
    """What is repeated: a label, in a sweep at a point."""
    return entry["label"], tuple(sorted(entry.get("point", {}).items()))


def _counted(record):
    groups = {}
    for run in record["runs"]:
        if run["complete"] and not run.get("discarded", True):
            groups.setdefault(_group(run), []).append(run)
    return groups


def _summary_value_problems(where, key, value, runs):
    bounds = [value[name] for name in ("least", "low", "median", "high", "most")]
    if value["count"] > len(runs):
        yield f"{where}: of {value['count']} runs, but {len(runs)} count"
    if value["count"] == 0:
        if bounds != [None] * 5:
            yield f"{where}: of no run, but not null"
    elif None in bounds or bounds != sorted(bounds) or value["deviation"] is None:
        yield f"{where}: {bounds} are not least, low, median, high, most"
    if not any(key in run["metrics"] for run in runs):
        return  # of a histogram, an end, or all errors together
    known = [run["metrics"][key]["value"] for run in runs
             if run["metrics"].get(key, {"value": None})["value"] is not None]
    if len(known) != value["count"]:
        yield f"{where}: of {value['count']} runs, but {len(known)} have it"
    elif known and not (_close(value["median"], statistics.median(known))
                        and value["least"] == min(known) and value["most"] == max(known)):
        yield f"{where}: is not what the runs say"
    elif len(known) > 1 and not _close(value["deviation"], statistics.stdev(known)) and (
            # Of large numbers that hardly differ, as they are written, little is left.
            abs(value["deviation"] - statistics.stdev(known)) > 1e-9 * max(map(abs, known))):
        yield f"{where}.deviation: is not that of the runs"


def _summary_problems(record):
    summaries = record.get("summaries", [])
    groups = [_group(summary) for summary in summaries]
    repeated = _counted(record)
    if len(groups) != len(set(groups)) or set(groups) != set(repeated):
        yield f"$.summaries: of {groups}, but {sorted(repeated)} are repeated"
        return
    for i, summary in enumerate(summaries):
        runs = repeated[groups[i]]
        if summary["runs"] != len(runs):
            yield f"$.summaries[{i}].runs: {summary['runs']}, but {len(runs)} count"
        for key, value in summary["metrics"].items():
            yield from _summary_value_problems(f"$.summaries[{i}].metrics.{key}", key, value, runs)


def _error_problems(record):
    total = sum(error["count"] for error in record["errors"])
    parts = sum(error["count"] for run in record["runs"] for error in run["errors"])
    if total != parts:
        yield f"$.errors: {total} errors, but {parts} in the runs"


def problems(record):
    """Everything that is wrong with a record, as texts."""
    found = list(_schema_problems(record))
    if found:
        return found  # the rest relies on the shape
    found += _complete_problems(record)
    found += _error_problems(record)
    found += _summary_problems(record)
    for i, run in enumerate(record["runs"]):
        found += _run_problems(f"$.runs[{i}]", run)
    return found


def main(arguments):
    incomplete = "--incomplete" in arguments
    files = [name for name in arguments if name != "--incomplete"]
    if not files or any(name.startswith("--") for name in files):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    status = 0
    for name in files:
        try:
            if name == "-":
                text = sys.stdin.buffer.read().decode("utf-8")
            else:
                text = pathlib.Path(name).read_text(encoding="utf-8")
            record = load(text)
            found = problems(record)
            if not found and incomplete and record["complete"]:
                found = ["$.complete: true"]
        except (OSError, ValueError) as error:
            found = [str(error)]
        for problem in found:
            print(f"{name}: {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
