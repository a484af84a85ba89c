"""An npm registry: packages' documents and tarballs, publishing, and what npm asks on the way."""

import base64
import gzip
import hashlib
import io
import json
import tarfile

from web import Reply

HOST, VERSION = "registry.yarnpkg.com", "1.0.0"


def make_tarball(package):
    buffer = io.BytesIO()
    files = {
        "package/package.json": json.dumps({"name": package, "version": VERSION, "main": "index.js"}).encode(),
        "package/index.js": b"module.exports = 7\n",
    }
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


TARBALLS = {package: make_tarball(package) for package in ("acme-widgets", "evil-package")}


def document(package):
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(TARBALLS[package]).digest()).decode()
    place = {"tarball": f"https://{HOST}/{package}/-/{package}-{VERSION}.tgz", "integrity": integrity}
    version = {"name": package, "version": VERSION, "dist": place}
    return {"name": package, "dist-tags": {"latest": VERSION}, "versions": {VERSION: version}}


class Registry:
    def __init__(self, say):
        self.say = say

    def site(self, request):
        path = request.path.strip("/")
        if request.method == "PUT":
            self.say(f"npm: took {path}, {len(request.body)} bytes")
            return reply({"ok": True})
        package, _, file = path.partition("/-/")
        if package in TARBALLS:
            return Reply(200, TARBALLS[package]) if file else reply(document(package))
        if path.startswith("-/npm/v1/security/"):
            return reply({})
        return Reply(404, b'{"error": "Not found"}', "application/json")


def reply(value):
    return Reply(200, json.dumps(value).encode(), "application/json")
