"""What the programs share: one line per operation, and patience at the start.

Names are resolved as by any other program: /etc/hosts, then cluster DNS.
Everything here is finite: every connection has a timeout, every retry a count.
"""

import os
import socket
import sys
import time

POD = os.environ.get("POD_NAME", "pod")
TIMEOUT = 1.0
PATIENCE = 20  # tries, half a second apart, for a server that has not started yet


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
    return socket.create_connection((name, port), timeout=timeout)


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
    """Waits until the cluster's DNS answers."""
    name = "feature-store.ingest.svc"
    for _ in range(PATIENCE):
        try:
            socket.getaddrinfo(name, None)
            return report("dns", name, True)
        except OSError:
            time.sleep(0.5)
    return report("dns", name, False)


def finish(ok):
    sys.exit(0 if ok else 1)
