"""What a compromised training worker tries, in the order of the incident that this example retells.

One line per attempt:

  blocked   nothing came back, the network said no, or the name was refused
  useless   something answered, and it is not what was wanted
  REACHED   what was wanted was there

A step marked with a limit is one that this version does not close; it says which. Nothing is stolen or broken: what
is taken is the example's own, and what it is sent to takes anything. Neighbours are in `STEPS`; `evasions.py` has the
ways around names.
"""

import socket
from dataclasses import dataclass, field

import evasions
from evasions import BLOCKED, REACHED, USELESS, outcome
from pipeline import TIMEOUT, say

NODES = {"node-a": "172.30.0.11", "node-b": "172.30.0.12"}  # as in nodes.yaml

STEPS = [
    ("neighbour-scan", "llm-trainer-master-0.train.pod", 22),
    ("neighbour-scan", "llm-trainer-worker-0.train.pod", 22),
    ("neighbour-scan", "llm-trainer-worker-2.train.pod", 8888),
    ("other-tenant-features", "globex-feature-store.ingest.svc", 7000),
    ("other-tenant-checkpoints", "globex-checkpoint-store.train.svc", 9000),
    ("vector-database", "vector-db.serve.svc", 6333),
    ("inference-admin", "inference.serve.svc", 8001),
    ("inference-api", "inference.serve.svc", 8000),
    ("api-server", NODES["node-a"], 6443),
    ("cloud-metadata", evasions.METADATA, 80),
    ("node-ssh", NODES["node-b"], 22),
    ("node-kubelet", NODES["node-b"], 10250),
    ("exfiltration", "203.0.113.66", 443),
    ("exfiltration-by-the-allowed-host", "203.0.113.10", 443),
]


@dataclass
class Tally:
    outcomes: list = field(default_factory=list)
    limits: int = 0

    def add(self, step, target, outcome, why="", limit=""):
        more = f" ({why})" if why else ""
        more += f" [known limit: {limit}]" if limit else ""
        say(f"ATTACK {step}: {target}: {outcome}{more}")
        self.outcomes.append(outcome)
        self.limits += bool(limit) and outcome == REACHED

    def end(self):
        counts = ", ".join(f"{self.outcomes.count(it)} {it}" for it in (BLOCKED, USELESS, REACHED))
        say(f"ATTACK ends after {len(self.outcomes)} steps: {counts}, of these {self.limits} by a known limit")


def attempt(tally, step, name, port):
    try:
        address = socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    except OSError as failure:
        # Never tried; of a name of the cluster, that is a fault of the example.
        return tally.add(step, f"{name} {port}/TCP", USELESS, f"not resolved: {failure}")
    target = f"{address[0]} {port}/TCP" + (f", {name}" if name != address[0] else "")
    return tally.add(step, target, *outcome(lambda: opened(address)))


def opened(address):
    with socket.create_connection(address, timeout=TIMEOUT):
        return REACHED, "open"


def run():
    tally = Tally()
    say("ATTACK begins")
    for step, target, port in STEPS:
        attempt(tally, step, target, port)
    for step, target, act, limit in evasions.STEPS:
        tally.add(step, target, *act(), limit)
    tally.end()


if __name__ == "__main__":
    run()
