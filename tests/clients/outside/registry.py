"""A registry of images (OCI distribution specification), with tokens as Docker Hub and ghcr.io ask for them
(distribution.github.io/distribution/spec/auth/token), layers by a redirect to their content network, and pushing by anybody."""

import gzip
import hashlib
import io
import json
import tarfile

from web import Reply

HOST, EDGE = "ghcr.io", "pkg-containers.githubusercontent.com"
NAMES = ("acme/tiny-image", "evil/image")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_image():
    """Manifest, and blobs by digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        about = tarfile.TarInfo("hello")
        about.size = 5
        archive.addfile(about, io.BytesIO(b"water"))
    layer = gzip.compress(buffer.getvalue(), mtime=0)
    root = {"type": "layers", "diff_ids": [digest(buffer.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode()

    def described(content, kind):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    about = {"config": described(config, "config.v1+json"), "layers": [described(layer, "layer.v1.tar+gzip")]}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **about}).encode()
    return manifest, {digest(content): content for content in (config, layer)}


IMAGE, BLOBS = make_image()


class Registry:
    def __init__(self, say):
        self.say = say

    def site(self, request):
        words = request.path.strip("/").split("/")
        if words == ["token"]:
            return Reply(200, json.dumps({"token": "example", "expires_in": 300}).encode(), "application/json")
        if "Authorization" not in request.headers:
            realm = f'Bearer realm="https://{HOST}/token",service="{HOST}",scope="repository:user/image:pull"'
            return error(401, "UNAUTHORIZED", {"WWW-Authenticate": realm})
        if words in (["v2"], ["v2", ""]):
            return Reply(200, b"{}", "application/json")
        name, rest = "/".join(words[1:3]), words[3:]
        if name not in NAMES:
            return error(404, "NAME_UNKNOWN")
        if rest[:1] == ["manifests"] and request.method in ("GET", "HEAD"):
            return Reply(200, IMAGE, MANIFEST, {"Docker-Content-Digest": digest(IMAGE)})
        if rest[:1] == ["blobs"] and request.method in ("GET", "HEAD") and rest[1] in BLOBS:
            if request.method == "HEAD":
                return Reply(200, BLOBS[rest[1]])
            return Reply(307, headers={"Location": f"https://{EDGE}/ghcr1/blobs/{rest[1]}?se=1&sig=example"})
        return self.push(request, name, rest)

    def push(self, request, name, rest):
        if request.method == "POST" and rest[:2] == ["blobs", "uploads"]:
            return Reply(202, headers={"Location": f"/v2/{name}/blobs/uploads/1", "Range": "0-0"})
        if request.method == "PATCH":
            self.say(f"registry: took a layer of {name}, {len(request.body)} bytes")
            return Reply(202, headers={"Location": f"/v2/{name}/blobs/uploads/1", "Range": f"0-{len(request.body)}"})
        if request.method == "PUT":
            self.say(f"registry: took {rest[0]} of {name}")
            return Reply(
                201,
                headers={
                    "Location": request.path,
                    "Docker-Content-Digest": request.query.get("digest", digest(request.body)),
                },
            )
        return error(404, "BLOB_UNKNOWN")

    @staticmethod
    def edge(request):
        content = BLOBS.get(request.path.rsplit("/", 1)[-1])
        return Reply(404) if content is None else Reply(200, content)


def error(status, code, headers=None):
    body = json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()
    return Reply(status, body, "application/json", headers or {})
