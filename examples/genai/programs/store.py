"""A key-value store over HTTP in memory: feature store, checkpoint store and vector database of the example.

PUT /key stores the body, GET /key returns it or 404. At most 64 keys of 1 MiB.
"""

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline import say

LARGEST, MOST = 1 << 20, 64


class Handler(BaseHTTPRequestHandler):
    values = {}

    def do_PUT(self):
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST or (len(self.values) >= MOST and self.path not in self.values):
            return self.reply(413)
        self.values[self.path] = self.rfile.read(length)
        return self.reply(204)

    def do_GET(self):
        value = self.values.get(self.path)
        return self.reply(404) if value is None else self.reply(200, value)

    def reply(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    server = ThreadingHTTPServer(("", port), Handler)
    say(f"listens on port {port}")
    server.serve_forever()
