"""The attack once more, each step with the rule that stopped it: joins what the attacker printed with the records of
what was denied to it.

    python3 story.py OUTPUT FLOWS LOOKUPS CONNECTIONS CALLS

OUTPUT: what `cofferdam up` printed, which has the records of the ingress gateway as well. The others: `cofferdam flows --json`, and so `dns`, `connections` and `calls`. A step that
was blocked and has no record ends this with 1, and so does one that was reached without being a known limit.
"""

import ipaddress
import json
import re
import sys

LINE = re.compile(r"\[([^]]+)\] ATTACK ([^:]+): (.*): (blocked|useless|REACHED)(.*)$")
GATEWAY = re.compile(r"\[[^]]+\] (\{\"request\": ?\{.*\}\})$")
# The id of a request, or the address that it came from.
REQUEST = re.compile(r"\b(?:request|from) ([\w.:-]+)")
PORT = re.compile(r"\b(\d+)/(TCP|UDP)\b")


def lines(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readlines()


def records(path):
    return [json.loads(line) for line in lines(path) if line.startswith("{")]


def is_address(word):
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


def of_flow(record):
    rule = record.get(record.get("deciding", "egress")) or {}
    source = rule.get("source") or {}
    name = f" rule {rule['name']}" if rule.get("name") else ""
    place = f", {source['file'].rsplit('/', 1)[-1]}:{source['line']}" if source.get("file") else ""
    return f"{record['reason']}: {written(rule.get('object'))}{name}{place}"


def written(object):
    """As in `NetworkPolicy train/default-deny`."""
    if not object:
        return "no policy"
    return f"{object['kind']} {'/'.join(filter(None, (object.get('namespace'), object['name'])))}"


def is_from(record, pod):
    end = record.get("from") or {}
    return f"{end.get('namespace')}/{end.get('name')}" == pod


def of_lookup(record):
    return f"DNS {record['reason']}: {record.get('rule', 'no rule is needed')}"


def of_connection(record):
    rule = record.get("rule") or record.get("nearest")
    return f"gateway {record['reason']}{': ' + rule if rule else ''}"


def of_call(record):
    rule = record.get("rule") or record.get("nearest")
    does = f"{record['operation']['verb']}, {record['operation']['api']}"
    lacks = f" ({record['lacks']})" if record.get("lacks") else ""
    return f"gateway {record['reason']}{lacks}, {does}{': ' + rule if rule else ''}"


def of_request(record):
    """A record of the ingress gateway."""
    guard, waf = record.get("guard") or {}, record.get("waf") or {}
    found = {
        "guard-blocked": f" ({guard.get('family')}, {guard.get('score', 0):.2f}, said by {guard.get('role')})",
        "waf-blocked": f" (rules {waf.get('rules')})",
    }
    rule = record.get("rule") or record.get("route") or record.get("detail")
    who = f", {record['consumer']}" if record.get("consumer") else ""
    return f"ingress gateway {record['reason']}{found.get(record['reason'], '')}{who}{': ' + rule if rule else ''}"


def is_request(record, words):
    """Whether a record is of what is written as host, method and path."""
    return [record["name"], record["method"], record["path"]] == [*words[:2], words[2].split("?")[0]]


def is_to(record, addresses, port):
    address, number = record["destination"].rsplit(":", 1)
    protocol = "UDP" if record["reason"] == "quic" else "TCP"
    return address.strip("[]") in addresses and (not port or (number, protocol) == port.groups())


def reason(pod, target, flows, lookups, connections, calls):
    """The record that fits what was tried: a connection of the name, or to the address and port; else the question. What a
    connection of the gateway explained explains nothing more: it is taken out of the list."""
    words = re.split(r"[ ,]+", target)
    if len(words) > 2 and words[2].startswith("/"):
        call = next((it for it in calls if is_from(it, pod) and is_request(it, words)), None)
        return of_call(call) if call else None
    addresses, port = [word for word in words if is_address(word)], PORT.search(target)
    is_question = not addresses and len(words) == 1
    for record in connections:
        name = (record["claim"].get("name") or "").lower()
        fits = is_to(record, addresses, port) and name in ("", words[0].lower()) if addresses else name == words[0].lower()
        if is_from(record, pod) and fits and not is_question:
            connections.remove(record)
            return of_connection(record)
    for record in (record for record in flows if is_from(record, pod)):
        fits = not port or (str(record["port"]), str(record["protocol"]).upper()) == port.groups()
        if record["to"]["address"] in addresses and fits:
            return of_flow(record)
    for record in (record for record in lookups if is_from(record, pod)):
        if record["resolver"] in addresses or (not addresses and record["name"].rstrip(".") == words[0].lower()):
            return of_lookup(record)
    return None


def main(output, flows, lookups, connections, calls):
    flows, lookups, failed = records(flows), records(lookups), 0
    connections, calls = records(connections), records(calls)
    asked = [json.loads(found[1])["request"] for line in lines(output) if (found := GATEWAY.search(line.rstrip()))]
    asked = {**{record["client"]: record for record in asked}, **{record["request_id"]: record for record in asked}}
    steps = [found.groups() for line in lines(output) if (found := LINE.search(line.rstrip()))]
    for pod, step, target, outcome, rest in steps:
        why = rest.strip()
        if outcome == "blocked" and (told := REQUEST.search(rest)):
            why = of_request(asked[told[1]]) if told[1] in asked else None
        elif outcome == "blocked":
            why = reason(pod, target, flows, lookups, connections, calls)
        is_wrong = not why or (outcome == "REACHED" and "known limit" not in rest)
        failed += is_wrong
        mark = "   <-- WRONG" if is_wrong else ""
        print(f"{outcome:8} {step:36} {target}\n{'':8} {why or 'no record says why'}{mark}")
    print(f"\n{len(steps)} steps, {failed} of them not as they should be")
    return bool(failed) or not steps


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
