"""Amazon Bedrock's runtime: converse, whole and as a stream of events, and invoke
(docs.aws.amazon.com/bedrock/latest/APIReference). A stream is of messages in a form of AWS's own
(smithy.io/2.0/aws/amazon-eventstream.html): lengths, CRC, headers, payload, CRC."""

import binascii
import json
import struct

from web import Reply

HOST = "bedrock-runtime.eu-west-1.amazonaws.com"
ANSWER = ["A cofferdam ", "keeps water out."]
USAGE = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}


def site(request):
    words = request.path.strip("/").split("/")
    if request.method == "POST" and words == ["async-invoke"]:
        return whole({"invocationArn": "arn:aws:bedrock:eu-west-1:123456789012:async-invoke/abcdefghijkl"})
    if request.method != "POST" or words[0] != "model":
        return Reply(404, b'{"message": "not found"}', "application/json")
    if words[-1] == "converse-stream":
        return Reply(200, (message(kind, value) for kind, value in events()), "application/vnd.amazon.eventstream")
    if words[-1] == "converse":
        answer = {"message": {"role": "assistant", "content": [{"text": "".join(ANSWER)}]}}
        return whole({"output": answer, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}})
    return whole({"content": [{"type": "text", "text": "".join(ANSWER)}]})


def events():
    yield "messageStart", {"role": "assistant"}
    for part in ANSWER:
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": part}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": "end_turn"}
    yield "metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}


def message(kind, value):
    fields = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(field(name, text) for name, text in fields.items())
    payload = json.dumps(value).encode()
    # Two lengths and their CRC before it, one CRC behind it.
    start = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    start += struct.pack("!I", binascii.crc32(start))
    return start + headers + payload + struct.pack("!I", binascii.crc32(start + headers + payload))


def field(name, text):
    # 7 is a text.
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(text)) + text.encode()


def whole(value):
    return Reply(200, json.dumps(value).encode(), "application/json")
