"""Google's Gemini API: answers whole and as a stream, embeddings, the list of models; and
the resumable upload of files (ai.google.dev/api/files), which it takes from anybody."""

import json

from web import Reply

HOST = "generativelanguage.googleapis.com"
ANSWER = ["A cofferdam ", "keeps water out."]
MODEL = {"name": "models/gemini-2.5-flash", "displayName": "A model", "supportedGenerationMethods": ["generateContent"]}


def site(request):
    # /v1/models, /v1beta/models, /upload/v1/files: the version is the client's choice.
    path = request.path.replace("/v1beta/", "/v1/")
    if path == "/v1/models" and request.method == "GET":
        return whole({"models": [MODEL]})
    if path == "/upload/v1/files" and request.method == "POST":
        if request.headers.get("X-Goog-Upload-Command") == "start":
            return Reply(200, headers={"X-Goog-Upload-URL": f"https://{HOST}{request.path}?upload_id=1"})
        about = {"name": "files/1", "uri": f"https://{HOST}/v1/files/1", "state": "ACTIVE"}
        return Reply(200, json.dumps({"file": about}).encode(), "application/json", {"X-Goog-Upload-Status": "final"})
    if path == "/v1/cachedContents" and request.method == "POST":
        return whole({"name": "cachedContents/1", "model": MODEL["name"]})
    if request.method != "POST" or ":" not in path:
        return Reply(
            404, b'{"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}', "application/json"
        )
    verb = path.rpartition(":")[2]
    if verb == "generateContent":
        return whole(answer("".join(ANSWER), "STOP"))
    if verb == "streamGenerateContent":
        parts = [answer(part, "STOP" if part is ANSWER[-1] else None) for part in ANSWER]
        return Reply(200, (f"data: {json.dumps(part)}\r\n\r\n".encode() for part in parts), "text/event-stream")
    if verb == "countTokens":
        return whole({"totalTokens": 5})
    if verb == "batchEmbedContents":
        return whole({"embeddings": [{"values": [0.5, 0.25]}]})
    if verb == "batchGenerateContent":
        return whole({"name": "batches/1", "metadata": {"state": "BATCH_STATE_PENDING"}})
    return Reply(404)


def answer(text, finish):
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash"}


def whole(value):
    return Reply(200, json.dumps(value).encode(), "application/json")
