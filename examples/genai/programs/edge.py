"""The edge: `cofferdam ingress-gateway`, by 35-gateway.yaml and what a cluster's API server would tell besides: a Secret
with a certificate, made here, and EndpointSlices of the Services that it leads to. Clients find the authority of the
certificate as edge.pem in the lab's folder."""

import base64
import os
import socket
import subprocess
import sys
import time

import pipeline
from pipeline import name_lookup, report

HOSTS = ["ask.acme.example", "llm.globex.example"]
# Service and port of its pods, as in 30-serve.yaml.
BACKENDS = {"rag": 8080, "globex-chat": 8000}
LAB = os.environ["COFFERDAM_LAB"]

SECRET = """
apiVersion: v1
kind: Secret
type: kubernetes.io/tls
metadata: {{name: edge-tls, namespace: serve}}
data: {{tls.crt: {}, tls.key: {}}}
"""
SLICE = """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {0}-1, namespace: serve, labels: {{kubernetes.io/service-name: {0}}}}}
addressType: IPv4
ports: [{{name: http, port: {1}}}]
endpoints: {2}
"""


def certificate(folder):
    """One that vouches for itself, in PEM, with its key."""
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    files = ["-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt"]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    about = ["-subj", "/CN=edge", "-addext", f"subjectAltName={names}"]
    subprocess.run(["openssl", "req", *kind, *files, *about], check=True, capture_output=True)
    return [open(f"{folder}/{name}", "rb").read() for name in ("tls.crt", "tls.key")]


def addresses(service):
    for _ in range(pipeline.PATIENCE):
        try:
            found = socket.getaddrinfo(f"{service}.serve.svc", None, socket.AF_INET, socket.SOCK_STREAM)
            return sorted({entry[4][0] for entry in found})
        except OSError:
            time.sleep(0.5)
    report("backend", service, False, error="not resolved")
    sys.exit(1)


def main():
    name_lookup()
    folder = f"{LAB}/edge"
    os.makedirs(folder, mode=0o700)
    chain, key = certificate(folder)
    with open(f"{folder}/cluster.yaml", "w", encoding="utf-8") as file:
        file.write(SECRET.format(base64.b64encode(chain).decode(), base64.b64encode(key).decode()))
        for service, port in BACKENDS.items():
            file.write(SLICE.format(service, port, [{"addresses": [address]} for address in addresses(service)]))
    with open(f"{LAB}/edge.tmp", "wb") as file:
        file.write(chain)
    os.rename(f"{LAB}/edge.tmp", f"{LAB}/edge.pem")
    objects = ["-f", "35-gateway.yaml", "-f", "30-serve.yaml", "-f", f"{folder}/cluster.yaml"]
    program = os.environ["COFFERDAM"]
    os.execv(program, [program, "ingress-gateway", *objects, "--crs", "rules", "--drain", "0", "--json"])


if __name__ == "__main__":
    main()
