"""An object store by the paths of S3: one bucket per host name. Takes what anybody puts."""

import hashlib
from urllib.parse import unquote
from xml.sax.saxutils import escape

from web import Reply

MOST = 256


class Bucket:
    def __init__(self, name, say, objects=()):
        self.name, self.say, self.objects = name, say, dict(objects)

    def site(self, request):
        key = request.path.lstrip("/")
        if request.method == "POST" and ("uploads" in request.query or "uploadId" in request.query):
            return self.multipart(request, key)
        if request.method == "POST" and "delete" in request.query:
            return Reply(200, b"<DeleteResult/>", "application/xml")
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return Reply(204)
        if request.method == "PUT" and "x-amz-copy-source" in request.headers:
            return self.copy(key, unquote(request.headers["x-amz-copy-source"]))
        if request.method == "PUT" and not key:
            self.say(f"object store: made {self.name}, or changed it")
            return Reply(200)
        if request.method in ("GET", "HEAD") and not key and "list-type" in request.query:
            return self.list()
        if request.method in ("GET", "HEAD"):
            content = self.objects.get(key)
            return error(404, "NoSuchKey") if content is None else part(content, request.headers.get("Range"))
        if request.method == "PUT" and key and (len(self.objects) < MOST or key in self.objects):
            self.objects[key] = request.body
            self.say(f"object store: took {self.name}/{key}, {len(request.body)} bytes")
            return Reply(200, headers=tag(request.body))
        return error(405, "MethodNotAllowed")

    def copy(self, key, source):
        _, _, source = source.lstrip("/").partition("/")
        self.objects[key] = self.objects.get(source, b"")
        self.say(f"object store: copied {source} to {self.name}/{key}")
        return Reply(
            200, f"<CopyObjectResult><ETag>{tag(b'')['ETag']}</ETag></CopyObjectResult>".encode(), "application/xml"
        )

    def multipart(self, request, key):
        name = f"<Bucket>{self.name}</Bucket><Key>{escape(key)}</Key>"
        if "uploads" in request.query:
            kind, more = "InitiateMultipartUploadResult", "<UploadId>1</UploadId>"
        else:
            kind, more = "CompleteMultipartUploadResult", f"<ETag>{tag(b'')['ETag']}</ETag>"
        return Reply(200, f"<{kind}>{name}{more}</{kind}>".encode(), "application/xml")

    def list(self):
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(value)}</Size></Contents>"
            for key, value in sorted(self.objects.items())
        )
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        head = f"<Name>{self.name}</Name><KeyCount>{len(self.objects)}</KeyCount><IsTruncated>false</IsTruncated>"
        return Reply(200, f"<ListBucketResult {space}>{head}{entries}</ListBucketResult>".encode(), "application/xml")


def part(content, wanted):
    """All of it, or the range that is asked for (RFC 9110, section 14.2): one, with a beginning."""
    headers = {**tag(content), "Accept-Ranges": "bytes"}
    if not wanted:
        return Reply(200, content, headers=headers)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    first, last = int(first), min(int(last or len(content)), len(content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Reply(206, content[first : last + 1], headers=headers)


def tag(content):
    return {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}


def error(status, code):
    return Reply(status, f"<Error><Code>{code}</Code></Error>".encode(), "application/xml")
