"""HTTP/1.1 for the stand-ins: one server per address, which asks the site that the Host header names.

A site is a function from a Request to a Reply. A Reply whose body is no bytes but an iterator is sent in chunks as it
comes; one with status 101 is a WebSocket that says each part.
"""

import base64
import gzip
import hashlib
import socket
import struct
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGEST = 1 << 26


@dataclass
class Request:
    method: str
    host: str
    path: str
    query: dict
    headers: dict
    body: bytes


@dataclass
class Reply:
    status: int = 200
    body: object = b""
    type: str = "application/octet-stream"
    headers: dict = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def answer(self):
        body = self.read_body()
        if body is None:
            self.close_connection = True
            return self.send(Reply(413))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        host = (self.headers.get("Host") or "").split(":")[0].lower()
        site = self.server.sites.get(host) or self.server.sites.get("*")
        if site is None:
            return self.send(Reply(421, b"no such host here\n", "text/plain"))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return self.send(site(Request(self.command, host, unquote(parts.path), query, self.headers, body)))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def read_body(self):
        """By its length or in chunks; None if it is too long."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(length) if length <= LARGEST else None
        body = b""
        while length := int(self.rfile.readline(1024).split(b";")[0], 16):
            if len(body) + length > LARGEST:
                return None
            body += self.rfile.read(length)
            self.rfile.readline(1024)
        while self.rfile.readline(1024).strip():
            pass
        return body

    def send(self, reply):
        if reply.status == 101:
            return self.send_messages(reply)
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        whole = isinstance(reply.body, bytes)
        if whole and "Content-Length" not in reply.headers:
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
        if not whole:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        if whole:
            self.wfile.write(reply.body)
            return
        for part in reply.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def send_messages(self, reply):
        """As a WebSocket (RFC 6455): short texts, then the end of whoever ends first."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        for text in reply.body:
            self.wfile.write(struct.pack("!BBH", 0x81, 126, len(text)) + text)
        self.rfile.read(1)
        self.wfile.write(b"\x88\x00")
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address, port, sites, context=None):
        super().__init__((address, port), Handler)
        self.sites = sites
        if context:
            # The handshake is made by the thread of the connection: whoever says nothing keeps only that one waiting.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request, client_address):
        # Attackers and probes leave in the middle; that is their business.
        pass

    def server_bind(self):
        # Without the look-up of its own name that the base class makes.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address
