"""The retrieval application: for every question, looks up passages and asks the model. What its own model should not
answer alone it asks two LLM providers; here it does so once, at the start."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import clients
from pipeline import ask, name_lookup, say

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


def ask_providers():
    if not (name_lookup() and clients.outside_is_up()):
        return
    message = json.dumps({"model": "claude-sonnet", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]})
    version = ["--header", "anthropic-version: 2023-06-01", "--header", "content-type: application/json"]
    clients.curl("ask-anthropic", "https://api.anthropic.com/v1/messages", *version, "--data", message)
    key = ["--header", "authorization: Bearer sk-example"]
    clients.curl("list-models", "https://api.openai.com/v1/models", *key)
    clients.openai("ask-openai")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", 8080), Handler)
    say("listens on port 8080")
    threading.Thread(target=ask_providers, daemon=True).start()
    server.serve_forever()
