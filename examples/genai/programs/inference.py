"""An inference server with the shape of vLLM's API on 8000, where whoever reaches it may load adapters too, and an admin
port on 8001 that swaps weights."""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipeline import ask, say

LARGEST = 1 << 16


class Chat(BaseHTTPRequestHandler):
    def do_POST(self):
        if self.path == "/v1/load_lora_adapter":
            return self.reply(200, {"status": "adapter loaded"})
        if self.path.partition("?")[0] != "/v1/chat/completions":
            return self.reply(404, {"error": {"message": "not found"}})
        length = min(int(self.headers.get("Content-Length", 0)), LARGEST)
        try:
            request = json.loads(self.rfile.read(length))
            prompt = str(request["messages"][-1]["content"])
        except (ValueError, LookupError, TypeError):
            return self.reply(400, {"error": {"message": "no messages"}})
        words = len(prompt.split())
        if request.get("stream"):
            return self.stream(request, ["words ", "received: ", str(words)])
        message = {"role": "assistant", "content": f"words received: {words}"}
        return self.reply(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": request.get("model", "llm"),
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": words, "completion_tokens": 3, "total_tokens": words + 3},
            },
        )

    def stream(self, request, parts):
        """As events that the server sends (SSE), to the end of the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request.get("model", "llm")}
        for number, part in enumerate(parts, 1):
            finish = "stop" if number == len(parts) else None
            choice = {"index": 0, "delta": {"content": part}, "finish_reason": finish}
            self.wfile.write(f"data: {json.dumps({**about, 'choices': [choice]})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def do_GET(self):
        return self.reply(200, {"object": "list", "data": [{"id": "llm", "object": "model"}]})

    def reply(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Admin(Chat):
    def do_POST(self):
        return self.reply(200, {"status": "weights swapped"})


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--weights", required=True, help="host:port of the checkpoint store")
    weights = arguments.parse_args().weights
    admin = ThreadingHTTPServer(("", 8001), Admin)
    threading.Thread(target=admin.serve_forever, daemon=True).start()
    server = ThreadingHTTPServer(("", 8000), Chat)
    say("listens on port 8000")
    # No checkpoint yet (404) is fine: it answers with what it has.
    threading.Thread(target=ask, args=("load-weights", "GET", weights, "/llm/step-3"), daemon=True).start()
    server.serve_forever()
