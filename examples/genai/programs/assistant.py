"""An application of another team, with a key of its own: asks the model, also as a stream, and the retrieval application."""

import json
import socket
import time

import clients
import pipeline
import through
from pipeline import finish, name_lookup, report
from through import APPLICATION, CHAT, MODEL, chat, request

KEY = "sk-assistant"

OPENAI = """
import openai, sys
client = openai.OpenAI(api_key=sys.argv[1], base_url=sys.argv[2], max_retries=1, timeout=10)
ask = dict(model="llm", messages=[{"role": "user", "content": "What is a cofferdam?"}])
whole = client.chat.completions.create(**ask).choices[0].message.content
parts = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ask, stream=True) if chunk.choices]
assert "".join(parts) == whole, (parts, whole)
print(f"{whole}, in {len(parts)} parts")
"""


def said(op, host, path, body, reads):
    """One request of which something is read. What is behind the edge may not have started yet."""
    for _ in range(pipeline.PATIENCE):
        try:
            status, _, answer = request(host, "POST", path, body, KEY)
            if status in (502, 503):
                time.sleep(0.5)
                continue
            got = reads(answer) if status == 200 else answer[:200]
            return report(op, f"{host}{path}", status == 200, status=status, got=got)
        except (OSError, ValueError, LookupError) as failure:
            return report(op, f"{host}{path}", False, error=failure)
    return report(op, f"{host}{path}", False, error=f"status {status} again and again")


def whole(answer):
    return json.loads(answer)["choices"][0]["message"]["content"]


def streamed(answer):
    events = [line[6:] for line in answer.decode().splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return "".join(json.loads(event)["choices"][0]["delta"].get("content", "") for event in events)


def with_sdk():
    """The unmodified OpenAI client, which finds the model by its name."""
    with open("/etc/hosts", "a", encoding="utf-8") as file:
        file.write(f"{socket.gethostbyname(through.EDGE)} {MODEL}\n")
    where = f"https://{MODEL}:{through.PORT}/v1"
    return clients.python("openai-through-the-edge", MODEL, "openai", [OPENAI, KEY, where], SSL_CERT_FILE=through.AUTHORITY)


if __name__ == "__main__":
    pipeline.TIMEOUT = 5.0
    ok = name_lookup() and report("edge", through.EDGE, through.is_up())
    ok &= said("chat", MODEL, CHAT, chat("good morning"), whole)
    ok &= said("chat-stream", MODEL, CHAT, chat("good morning", stream=True), streamed)
    ok &= said("question", APPLICATION, "/ask", json.dumps({"question": "what is a cofferdam?"}), whole)
    ok &= with_sdk()
    finish(ok)
