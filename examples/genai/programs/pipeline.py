"""What the programs share: names, one line per operation, and patience at the start.

Names come from the file COFFERDAM_HOSTS ("address name" lines), which the lab writes once all pods have addresses.
Everything here is finite: every connection has a timeout, every retry a count.
"""

import os
import socket
import sys
import time

POD = os.environ.get("POD_NAME", "pod")
TIMEOUT = 1.0
PATIENCE = 20  # tries, half a second apart, for a server that has not started yet


def hosts():
    path = os.environ.get("COFFERDAM_HOSTS", "")
    names = {}
    if path and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                for name in words[1:]:
                    names.setdefault(name, words[0])
    return names


def resolve(name):
    """An address for `pod.namespace.pod` or `service.namespace.svc`; an address stands for itself."""
    return hosts().get(name, name)


def split(target, default_port):
    name, _, port = target.partition(":")
    return name, int(port or default_port)


def say(line):
    """The lab puts the pod's name before it."""
    print(line, flush=True)


def report(op, to, ok, **more):
    details = "".join(f", {name} {value}" for name, value in more.items())
    say(f"{op} {to}: {'ok' if ok else 'FAILED'}{details}")
    return ok


def connect(name, port, timeout=TIMEOUT):
    return socket.create_connection((resolve(name), port), timeout=timeout)


def http(method, target, path, body=b"", timeout=TIMEOUT):
    """One HTTP/1.1 request. Returns (status, body)."""
    name, port = split(target, 80)
    with connect(name, port, timeout) as stream:
        head = f"{method} {path} HTTP/1.1\r\nHost: {name}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        stream.sendall(head.encode() + body)
        answer = b""
        while len(answer) < 1 << 20:
            part = stream.recv(65536)
            if not part:
                break
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def ask(op, method, target, path, body=b"", good=(200, 204, 404)):
    """An HTTP request that waits for its server to start, and reports once. Returns the body, or None."""
    error = "no answer"
    for _ in range(PATIENCE):
        try:
            status, answer = http(method, target, path, body)
            return answer if report(op, target, status in good, status=status) else None
        except (OSError, ValueError, IndexError) as failure:
            error = str(failure) or type(failure).__name__
            time.sleep(0.5)
    report(op, target, False, error=error)
    return None


def name_lookup():
    """Asks the cluster's name server over UDP."""
    from nameserver import query

    for _ in range(PATIENCE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(TIMEOUT)
            try:
                udp.sendto(query("feature-store.ingest.svc"), (resolve("kube-dns.kube-system.svc"), 53))
                udp.recv(512)
                return report("dns", "kube-dns.kube-system.svc:53", True)
            except OSError:
                time.sleep(0.5)
    return report("dns", "kube-dns.kube-system.svc:53", False)


def finish(ok):
    sys.exit(0 if ok else 1)
