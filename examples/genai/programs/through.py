"""Requests through the edge, as its clients make them: HTTPS to where the Service is, by the names of what is behind."""

import http.client
import json
import os
import socket
import ssl
import time

from pipeline import PATIENCE

EDGE, PORT = "edge.serve.svc", 8443
MODEL, APPLICATION = "llm.globex.example", "ask.acme.example"
AUTHORITY = f"{os.environ.get('COFFERDAM_LAB', '/nonexistent')}/edge.pem"
CHAT = "/v1/chat/completions"


def is_up():
    """Whether the edge takes connections, sooner or later."""
    for _ in range(2 * PATIENCE):
        try:
            with opened(MODEL):
                return True
        except OSError:
            time.sleep(0.5)
    return False


def opened(host):
    """TLS to the edge for one of its hosts, whose certificate is checked."""
    context = ssl.create_default_context(cafile=AUTHORITY)
    plain = socket.create_connection((EDGE, PORT), timeout=10)
    return context.wrap_socket(plain, server_hostname=host)


def request(host, method, path, body=None, key=None, claim=None):
    """Status, fields and body of the answer. `claim`: the name in the handshake, if another."""
    with opened(claim or host) as stream:
        connection = http.client.HTTPConnection(host)
        connection.sock = stream
        fields = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        connection.request(method, path, body=body, headers=fields)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def chat(content, model="llm", **more):
    """What asks a model for an answer."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": content}], **more})
