"""Says which rules match in libmodsecurity (PyPI: libmodsecurity), for rules and requests made by chance.

Enters: on each line of standard input a case, as JSON: `rules` (directives) and `requests` (target, headers, body; all bytes as
Latin-1). Leaves: a line for each: `error` of rules that do not load, or `outcomes`: for each request the rules that matched in
their order with their messages, and the status of an interruption.
"""

import json
import os
import sys

import libmodsecurity


def said_of(message):
    try:
        return message.message
    except UnicodeDecodeError:
        return "?"


def run(rules, request):
    # Collections that persist do so in the engine: each request has one of its own.
    engine = libmodsecurity.ModSecurity()
    engine.set_log_callback(lambda text: None)
    transaction = libmodsecurity.Transaction(engine, rules)
    status = None

    def over():
        nonlocal status
        said = transaction.intervention()
        if status is None and said and said.disruptive:
            status = said.status
        return status is not None

    def phases():
        transaction.process_request_headers()
        if over():
            return
        if request["body"]:
            transaction.append_request_body(request["body"].encode("latin-1"))
        transaction.process_request_body()
        if over():
            return
        transaction.add_response_header("Content-Type", "text/plain")
        transaction.process_response_headers(200, "HTTP/1.1")
        if over():
            return
        transaction.append_response_body(b"answer ab")
        transaction.process_response_body()
        over()

    transaction.process_connection("192.0.2.7", 5000, "192.0.2.1", 80)
    transaction.process_uri(request["target"].encode("latin-1"), "POST", "1.1")
    for name, value in request["headers"]:
        transaction.add_request_header(name, value.encode("latin-1"))
    phases()
    transaction.process_logging()
    matched = [[message.rule_id, said_of(message)] for message in transaction.get_rule_messages()]
    return {"matched": matched, "status": status}


def main():
    # The library writes to standard output by itself.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    engine = libmodsecurity.ModSecurity()
    print(json.dumps({"peer": engine.who_am_i()}), file=answers, flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        rules = libmodsecurity.RulesSet()
        if rules.load(case["rules"]) < 0:
            print(json.dumps({"error": rules.get_parser_error()}), file=answers, flush=True)
            continue
        outcomes = [run(rules, request) for request in case["requests"]]
        print(json.dumps({"outcomes": outcomes}), file=answers, flush=True)


main()
