"""LLM providers: OpenAI's chat completions, responses and embeddings, and Anthropic's messages, whole and as a stream of
events; and the files, batches and trainings of both, which they take from anybody."""

import json

from web import Reply

ANSWER = ["A cofferdam ", "is a watertight ", "space between ", "two walls."]


def openai(request):
    if request.path == "/v1/models" and request.method == "GET":
        model = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai"}
        return whole({"object": "list", "data": [model]})
    if request.path == "/v1/realtime" and request.headers.get("Upgrade") == "websocket":
        return Reply(101, [json.dumps({"type": "session.created", "event_id": "1", "session": {}}).encode()])
    if request.path == "/v1/files/file-1/content" and request.method == "GET":
        return Reply(200, b"an answer\n")
    if request.path == "/v1/audio/transcriptions" and request.method == "POST":
        return whole({"text": "water"})
    if stored := STORES.get(request.path) if request.method == "POST" else None:
        return whole(stored)
    if asked := read(request, "/v1/embeddings", "input"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25, 0.125]}]
        return whole(
            {"object": "list", "data": data, "model": asked["model"], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        )
    if asked := read(request, "/v1/responses", "input"):
        return events(response_events(asked)) if asked.get("stream") else whole(response(asked, "completed"))
    asked = read(request, "/v1/chat/completions")
    if asked is None:
        return Reply(404, b'{"error": {"message": "not found", "type": "invalid_request_error"}}', "application/json")
    usage = {
        "prompt_tokens": words(asked),
        "completion_tokens": len(ANSWER),
        "total_tokens": words(asked) + len(ANSWER),
    }
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


# What stores the caller's data, and what is answered then.
STORES = {
    "/v1/files": {
        "id": "file-1",
        "object": "file",
        "bytes": 1,
        "created_at": 1,
        "filename": "x",
        "purpose": "batch",
        "status": "processed",
    },
    "/v1/batches": {"id": "batch_1", "object": "batch", "status": "validating", "endpoint": "/v1/chat/completions"},
    "/v1/fine_tuning/jobs": {"id": "ftjob-1", "object": "fine_tuning.job", "status": "queued"},
    "/v1/vector_stores": {"id": "vs_1", "object": "vector_store", "name": "x", "status": "completed"},
    "/v1/uploads": {"id": "upload_1", "object": "upload", "status": "pending"},
}


def response(asked, status):
    text = "".join(ANSWER) if status == "completed" else ""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content}
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": asked["model"], "status": status}
    settings = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {**common, **settings, "output": [message] if text else []}


def response_events(asked):
    def event(kind, number, **more):
        return kind, {"type": kind, "sequence_number": number, **more}

    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield event("response.created", 0, response=response(asked, "in_progress"))
    for number, part in enumerate(ANSWER, 1):
        yield event("response.output_text.delta", number, **at, delta=part, logprobs=[])
    yield event("response.completed", len(ANSWER) + 1, response=response(asked, "completed"))


def anthropic(request):
    if request.path == "/v1/models" and request.method == "GET":
        model = {
            "id": "claude-sonnet-5",
            "type": "model",
            "display_name": "A model",
            "created_at": "2025-01-01T00:00:00Z",
        }
        return whole({"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]})
    if request.path == "/v1/files" and request.method == "POST":
        about = {"filename": "x", "mime_type": "text/plain", "size_bytes": 1, "created_at": "2025-01-01T00:00:00Z"}
        return whole({"id": "file_1", "type": "file", "downloadable": False, **about})
    if request.path == "/v1/messages/batches" and request.method == "POST":
        return whole({"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"})
    if counted := read(request, "/v1/messages/count_tokens"):
        return whole({"input_tokens": words(counted)})
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

    start = {
        **common,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    yield event("message_start", message=start)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for part in ANSWER:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": part})
    yield event("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": usage["output_tokens"]})
    yield event("message_stop")


def read(request, path, needs="messages"):
    """The request's JSON, or None if it is not one for this path or lacks what it needs."""
    if request.method != "POST" or request.path != path:
        return None
    try:
        asked = json.loads(request.body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) and asked.get(needs) else None


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
