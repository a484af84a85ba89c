"""The edge: asks each tenant's application what a user would ask. A few rounds, then done."""

import json
import time

import pipeline
from pipeline import ask, finish, name_lookup

ROUNDS = 3

if __name__ == "__main__":
    pipeline.TIMEOUT = 5.0
    ok = name_lookup()
    chat = json.dumps({"model": "llm", "messages": [{"role": "user", "content": "good morning"}]}).encode()
    for _ in range(ROUNDS):
        ok &= ask("question", "POST", "rag.serve.svc:8080", "/ask", b"what is a cofferdam?") is not None
        ok &= ask("chat", "POST", "globex-chat.serve.svc:8000", "/v1/chat/completions", chat) is not None
        time.sleep(0.5)
    finish(ok)
