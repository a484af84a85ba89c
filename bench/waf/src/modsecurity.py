"""Runs requests through libmodsecurity (PyPI: libmodsecurity) and says what each cost.

Enters: on the first line of standard input what is to be run, as JSON: `options` (directives), `files` (paths of rules in
their order), `requests` (method, target, headers, body). Then lines of two numbers: which request, and for how many
nanoseconds of processor time. Leaves: a line for each: nanoseconds of processor time for one transaction, phases 1 and 2,
and whether it was blocked.
"""

import json
import sys
import time

import libmodsecurity


def load(setup):
    rules = libmodsecurity.RulesSet()
    for name, result in [("options", rules.load(setup["options"]))] + [
        (path, rules.load_from_uri(path)) for path in setup["files"]
    ]:
        if result < 0:
            sys.exit(f"{name}: {rules.get_parser_error()}")
    return rules


def run(engine, rules, request):
    transaction = libmodsecurity.Transaction(engine, rules)
    transaction.process_connection("127.0.0.1", 40000, "127.0.0.1", 80)
    transaction.process_uri(request["target"], request["method"], "1.1")
    for name, value in request["headers"]:
        transaction.add_request_header(name, value)
    transaction.process_request_headers()
    if blocked(transaction):
        return True
    if request["body"]:
        transaction.append_request_body(request["body"])
    transaction.process_request_body()
    return blocked(transaction)


def blocked(transaction):
    said = transaction.intervention()
    return bool(said and said.disruptive)


def main():
    setup = json.loads(sys.stdin.readline())
    requests = [dict(request, body=request["body"].encode()) for request in setup["requests"]]
    engine = libmodsecurity.ModSecurity()
    engine.set_log_callback(lambda text: None)
    rules = load(setup)
    print(json.dumps({"peer": engine.who_am_i()}), flush=True)
    for line in sys.stdin:
        number, budget = map(int, line.split())
        runs, before, verdict = 0, time.thread_time_ns(), False
        while runs == 0 or time.thread_time_ns() - before < budget:
            verdict = run(engine, rules, requests[number])
            runs += 1
        spent = (time.thread_time_ns() - before) // runs
        print(json.dumps({"nanoseconds": spent, "runs": runs, "blocked": verdict}), flush=True)


main()
