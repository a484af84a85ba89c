"""An object store by the paths of S3: one bucket per host name. Takes what anybody puts."""

import hashlib
from xml.sax.saxutils import escape

from web import Reply

MOST = 256


class Bucket:
    def __init__(self, name, say, objects=()):
        self.name, self.say, self.objects = name, say, dict(objects)

    def site(self, request):
        key = request.path.lstrip("/")
        if request.method in ("GET", "HEAD") and not key and "list-type" in request.query:
            return self.list()
        if request.method in ("GET", "HEAD"):
            content = self.objects.get(key)
            return error(404, "NoSuchKey") if content is None else Reply(200, content, headers=tag(content))
        if request.method == "PUT" and key and (len(self.objects) < MOST or key in self.objects):
            self.objects[key] = request.body
            self.say(f"object store: took {self.name}/{key}, {len(request.body)} bytes")
            return Reply(200, headers=tag(request.body))
        return error(405, "MethodNotAllowed")

    def list(self):
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(value)}</Size></Contents>"
            for key, value in sorted(self.objects.items())
        )
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        head = f"<Name>{self.name}</Name><KeyCount>{len(self.objects)}</KeyCount><IsTruncated>false</IsTruncated>"
        return Reply(200, f"<ListBucketResult {space}>{head}{entries}</ListBucketResult>".encode(), "application/xml")


def tag(content):
    return {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}


def error(status, code):
    return Reply(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
