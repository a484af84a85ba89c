"""The small sites: a publisher, a resolver over HTTPS, the cloud's metadata service, and whatever is the attacker's."""

import base64

import dnswire
from web import Reply


def publisher(_):
    return Reply(200, b"a published data set\n", "text/plain")


def resolver(names):
    """RFC 8484."""

    def site(request):
        packet = request.body
        if request.method == "GET":
            text = request.query.get("dns", "")
            packet = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        reply = dnswire.answer(packet, names) if request.path == "/dns-query" else None
        return Reply(200, reply, "application/dns-message") if reply else Reply(400)

    return site


def metadata(_):
    return Reply(200, b'{"AccessKeyId": "AKIAEXAMPLE", "SecretAccessKey": "example"}\n', "application/json")


def collector(say):
    """Takes anything from anybody, and says so."""

    def site(request):
        say(f"{request.host}: took {request.method} {request.path}, {len(request.body)} bytes")
        return Reply(200, b"taken\n", "text/plain")

    return site
