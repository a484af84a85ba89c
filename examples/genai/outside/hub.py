"""A model hub with the paths of huggingface.co: files by a redirect to its content network, git, and everything that an
upload asks for, which it takes from anybody, as well as jobs. It keeps nothing of an upload but its size."""

import base64
import hashlib
import json
import os
import subprocess
import struct

from web import Reply

HOST, EDGES = "huggingface.co", {"models": "us.aws.cdn.hf.co", "datasets": "eu-west-3.aws.cdn.hf.co"}


def safetensors():
    values = struct.pack("<256f", *(number / 256 for number in range(256)))
    head = json.dumps({"weight": {"dtype": "F32", "shape": [16, 16], "data_offsets": [0, len(values)]}}).encode()
    return struct.pack("<Q", len(head)) + head + values


REPOSITORIES = {
    ("models", "acme/tiny-llm"): {"config.json": b'{"model_type": "tiny"}\n', "model.safetensors": safetensors()},
    ("datasets", "acme/corpus"): {"corpus.jsonl": b'{"text": "a cofferdam keeps water out"}\n' * 64},
}
LARGE = (".safetensors", ".jsonl")


def commit(kind, name):
    return hashlib.sha1(f"{kind}/{name}".encode()).hexdigest()


class Hub:
    def __init__(self, folder, say):
        self.say, self.git = say, make_git(folder)

    def site(self, request):
        """The hub itself."""
        words = request.path.strip("/").split("/")
        if words[0] == "api":
            return self.api(request, words[1:])
        if request.path.endswith("/info/lfs/objects/batch"):
            return self.batch(request)
        if words[0] == "lfs-upload" and request.method == "PUT":
            return self.took("a file", len(request.body), {})
        kind = words.pop(0) if words[0] in EDGES else "models"
        name = "/".join(words[:2])
        if words[2:3] == ["resolve"]:
            return resolve(kind, name, "/".join(words[4:]))
        if words[2:] == ["info", "refs"] or words[2:3] in (["git-upload-pack"], ["git-receive-pack"]):
            return self.git_service(request, words[-1])
        return Reply(404)

    def edge(self, request):
        """The content network: what the hub redirects to."""
        content = CONTENT.get(request.path.rsplit("/", 1)[-1])
        return Reply(404) if content is None else Reply(200, content, headers={"ETag": f'"{digest(content)}"'})

    def api(self, request, words):
        kind, name, verb = words[0], "/".join(words[1:3]), words[3:4]
        if request.method == "POST" and verb == ["preupload"]:
            files = json.loads(request.body)["files"]
            mode = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return reply({"files": mode})
        if request.method == "POST" and verb == ["commit"]:
            return self.commit(kind, name, request.body)
        if request.method == "POST" and words == ["repos", "create"]:
            return reply({"url": f"https://{HOST}/{json.loads(request.body)['name']}"})
        if request.method == "POST" and words[0] in ("jobs", "spaces"):
            return self.took(f"{words[0]} of {words[1]}", len(request.body), {"id": "1"})
        if request.method == "GET" and verb == ["xet-write-token"]:
            return reply({"accessToken": "example", "casUrl": f"https://{EDGES['models']}", "exp": 1 << 40})
        files = REPOSITORIES.get((kind, name))
        if files is None or request.method != "GET":
            return Reply(404, headers={"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": file} for file in files]
        about = {"_id": "1", "id": name, "sha": commit(kind, name), "private": False, "tags": []}
        return reply({**about, "siblings": siblings})

    def commit(self, kind, name, body):
        size = 0
        for line in body.splitlines():
            entry = json.loads(line)
            if entry.get("key") == "file":
                size += len(base64.b64decode(entry["value"]["content"]))
        oid = hashlib.sha1(body).hexdigest()
        url = f"https://{HOST}/{name}/commit/{oid}"
        return self.took(f"a commit to {kind}/{name}", size, {"success": True, "commitOid": oid, "commitUrl": url})

    def batch(self, request):
        asked, objects = json.loads(request.body), []
        for entry in asked["objects"]:
            upload = {"upload": {"href": f"https://{HOST}/lfs-upload/{entry['oid']}"}}
            download = {"download": {"href": f"https://{EDGES['models']}/{entry['oid']}"}}
            objects.append({**entry, "actions": upload if asked["operation"] == "upload" else download})
        return reply({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")

    def took(self, what, size, answer):
        self.say(f"hub: took {what}, {size} bytes")
        return reply(answer)

    def git_service(self, request, last):
        """git's smart protocol, by git itself."""
        service = request.query.get("service", "") if last == "refs" else last
        if service not in ("git-upload-pack", "git-receive-pack") or not self.git:
            return Reply(404)
        command = ["git", service.removeprefix("git-"), "--stateless-rpc"]
        if last == "refs":
            told = subprocess.run([*command, "--advertise-refs", self.git], capture_output=True).stdout
            line = f"# service={service}\n"
            return Reply(200, f"{len(line) + 4:04x}{line}0000".encode() + told, f"application/x-{service}-advertisement")
        done = subprocess.run([*command, self.git], input=request.body, capture_output=True)
        if service == "git-receive-pack":
            self.say(f"hub: took a push, {len(request.body)} bytes")
        return Reply(200, done.stdout, f"application/x-{service}-result")


def resolve(kind, name, file):
    content = REPOSITORIES.get((kind, name), {}).get(file)
    if content is None:
        return Reply(404, headers={"X-Error-Code": "EntryNotFound"})
    headers = {"X-Repo-Commit": commit(kind, name), "ETag": f'"{digest(content)}"', "Accept-Ranges": "bytes"}
    if not file.endswith(LARGE):
        return Reply(200, content, "text/plain", headers)
    headers |= {"X-Linked-Etag": f'"{digest(content)}"', "X-Linked-Size": str(len(content))}
    headers["Location"] = f"https://{EDGES[kind]}/repos/{digest(content)}?Expires=1&Signature=example"
    return Reply(302, b"", "text/plain", headers)


def digest(content):
    return hashlib.sha256(content).hexdigest()


CONTENT = {digest(content): content for files in REPOSITORIES.values() for content in files.values()}


def reply(value, kind="application/json"):
    return Reply(200, json.dumps(value).encode(), kind)


def make_git(folder):
    """A repository of the model's small files, or "" where git cannot make one."""
    work, bare = f"{folder}/hub", f"{folder}/hub.git"
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    who = [f"GIT_{role}_{field}" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")]
    environment |= dict.fromkeys(who, "hub@example")

    def git(*arguments):
        subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)

    try:
        git("init", "--initial-branch=main", work)
        with open(f"{work}/config.json", "wb") as file:
            file.write(REPOSITORIES["models", "acme/tiny-llm"]["config.json"])
        git("-C", work, "add", ".")
        git("-C", work, "commit", "-m", "A tiny model")
        git("clone", "--bare", work, bare)
        git("-C", bare, "config", "http.receivepack", "true")
        return bare
    except (OSError, subprocess.CalledProcessError):
        return ""
