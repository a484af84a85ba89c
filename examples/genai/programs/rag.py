"""The retrieval application: for every question, looks up passages and asks the model."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline import ask, say

LARGEST = 1 << 16


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        question = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), LARGEST)).decode("utf-8", "replace")
        passages = ask("retrieve", "GET", "vector-db.serve.svc:6333", "/points/0")
        prompt = f"{(passages or b'')[:200].decode('utf-8', 'replace')}\n{question}"
        request = {"model": "llm", "messages": [{"role": "user", "content": prompt}]}
        answer = ask(
            "generate", "POST", "inference.serve.svc:8000", "/v1/chat/completions", json.dumps(request).encode()
        )
        body = answer or b"{}"
        self.send_response(200 if answer else 502)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", 8080), Handler)
    say("listens on port 8080")
    server.serve_forever()
