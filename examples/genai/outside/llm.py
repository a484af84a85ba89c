"""LLM providers: OpenAI's chat completions and Anthropic's messages, whole and as a stream of events."""

import json

from web import Reply

ANSWER = ["A cofferdam ", "is a watertight ", "space between ", "two walls."]


def openai(request):
    if request.path == "/v1/models" and request.method == "GET":
        model = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai"}
        return whole({"object": "list", "data": [model]})
    asked = read(request, "/v1/chat/completions")
    if asked is None:
        return Reply(404, b'{"error": {"message": "not found", "type": "invalid_request_error"}}', "application/json")
    usage = {"prompt_tokens": words(asked), "completion_tokens": len(ANSWER), "total_tokens": words(asked) + len(ANSWER)}
    common = {"id": "chatcmpl-1", "created": 1, "model": asked.get("model", "gpt-4o-mini")}
    if asked.get("stream"):
        return events(openai_chunks(common, usage, asked))
    message = {"role": "assistant", "content": "".join(ANSWER)}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return whole({**common, "object": "chat.completion", "choices": choices, "usage": usage})


def openai_chunks(common, usage, asked):
    def chunk(delta, finish=None):
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return None, {**common, "object": "chat.completion.chunk", "choices": choices}

    yield chunk({"role": "assistant", "content": ""})
    for part in ANSWER:
        yield chunk({"content": part})
    yield chunk({}, "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield None, {**common, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    yield None, "[DONE]"


def anthropic(request):
    asked = read(request, "/v1/messages")
    if asked is None or "max_tokens" not in asked:
        error = b'{"type": "invalid_request_error", "message": "max_tokens: Field required"}'
        return Reply(400, b'{"type": "error", "error": %s}' % error, "application/json")
    usage = {"input_tokens": words(asked), "output_tokens": len(ANSWER)}
    common = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked.get("model", "claude")}
    if asked.get("stream"):
        return events(anthropic_events(common, usage))
    content = [{"type": "text", "text": "".join(ANSWER)}]
    return whole({**common, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


def anthropic_events(common, usage):
    def event(kind, **more):
        return kind, {"type": kind, **more}

    start = {**common, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield event("message_start", message=start)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for part in ANSWER:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
    yield event("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": usage["output_tokens"]})
    yield event("message_stop")


def read(request, path):
    """The request's JSON, or None if it is not one for this path."""
    if request.method != "POST" or request.path != path:
        return None
    try:
        asked = json.loads(request.body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) and asked.get("messages") else None


def words(asked):
    return len(json.dumps(asked["messages"]).split())


def whole(value):
    return Reply(200, json.dumps(value).encode(), "application/json")


def events(pairs):
    def lines():
        for kind, value in pairs:
            name = f"event: {kind}\n" if kind else ""
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{name}data: {text}\n\n".encode()

    return Reply(200, lines(), "text/event-stream")
