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
DISCUSSION = {
    "num": 1,
    "title": "x",
    "status": "draft",
    "createdAt": "2025-01-01T00:00:00.000Z",
    "isPullRequest": True,
    "changes": {"base": "refs/heads/main"},
    "filesWithConflicts": [],
    "events": [],
}
LARGE = (".safetensors", ".jsonl")
LFS = "application/vnd.git-lfs+json"


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
        if request.path.endswith("/info/lfs/locks/verify"):
            return reply({"ours": [], "theirs": []}, LFS)
        if request.path.endswith("/info/lfs/objects/verify"):
            return reply({}, LFS)
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
            return self.commit(kind, name, request)
        if request.method == "POST" and words == ["repos", "create"]:
            asked = json.loads(request.body)
            return reply({"url": f"https://{HOST}/{asked.get('organization') or 'acme'}/{asked['name']}"})
        if words[0] == "repos":
            return self.took(words[-1], len(request.body), {})
        if request.method == "POST" and verb == ["discussions"]:
            return self.took(f"a discussion of {kind}/{name}", len(request.body), {"num": 1})
        if request.method == "GET" and verb == ["discussions"]:
            return reply({**DISCUSSION, "repo": {"type": kind[:-1], "name": name}})
        if request.method in ("POST", "DELETE") and verb in (["branch"], ["tag"]):
            return self.took(f"a {verb[0]} of {kind}/{name}", len(request.body), {})
        if request.method == "GET" and words in (["models"], ["datasets"]):
            return reply([about(*repository) for repository in REPOSITORIES if repository[0] == words[0]])
        if request.method == "POST" and words[0] in ("jobs", "spaces"):
            job = {"id": "1", "owner": {"id": "1", "name": words[1], "type": "user"}, "status": {"stage": "RUNNING"}}
            return self.took(f"{words[0]} of {words[1]}", len(request.body), job)
        if request.method == "GET" and verb == ["xet-write-token"]:
            return reply({"accessToken": "example", "casUrl": f"https://{EDGES['models']}", "exp": 1 << 40})
        files = REPOSITORIES.get((kind, name))
        if files is None or request.method != "GET":
            return Reply(404, headers={"X-Error-Code": "RepoNotFound"})
        if verb == ["tree"]:
            return reply([entry(file, content) for file, content in files.items()])
        return reply({**about(kind, name), "siblings": [{"rfilename": file} for file in files]})

    def commit(self, kind, name, request):
        body, size = request.body, 0
        for line in body.splitlines():
            entry = json.loads(line)
            if entry.get("key") == "file":
                size += len(base64.b64decode(entry["value"]["content"]))
        oid = hashlib.sha1(body).hexdigest()
        told = {"success": True, "commitOid": oid, "commitUrl": f"https://{HOST}/{name}/commit/{oid}"}
        if "create_pr" in request.query:
            told["pullRequestUrl"] = f"https://{HOST}/{name}/discussions/1"
        return self.took(f"a commit to {kind}/{name}", size, told)

    def batch(self, request):
        asked, objects = json.loads(request.body), []
        for entry in asked["objects"]:
            verify = {"href": f"https://{HOST}{request.path.removesuffix('batch')}verify"}
            upload = {"upload": {"href": f"https://{HOST}/lfs-upload/{entry['oid']}"}, "verify": verify}
            download = {"download": {"href": f"https://{EDGES['models']}/{entry['oid']}"}}
            objects.append({**entry, "actions": upload if asked["operation"] == "upload" else download})
        return reply({"transfer": "basic", "objects": objects}, LFS)

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
            return Reply(
                200, f"{len(line) + 4:04x}{line}0000".encode() + told, f"application/x-{service}-advertisement"
            )
        done = subprocess.run([*command, self.git], input=request.body, capture_output=True)
        if service == "git-receive-pack":
            self.say(f"hub: took a push, {len(request.body)} bytes")
        return Reply(200, done.stdout, f"application/x-{service}-result")


def about(kind, name):
    return {
        "_id": "1",
        "id": name,
        "sha": commit(kind, name),
        "private": False,
        "tags": [],
        "pipeline_tag": "text-generation",
    }


def entry(file, content):
    """Of a listing: what is large is told with its digest as well."""
    large = {"lfs": {"oid": digest(content), "size": len(content), "pointerSize": 132}} if file.endswith(LARGE) else {}
    return {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest(), **large}


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


def pointer(content):
    """What stands for a large file in git (github.com/git-lfs/git-lfs/blob/main/docs/spec.md)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest(content)}\nsize {len(content)}\n".encode()


def make_git(folder):
    """A repository of the model's files, the large one by its pointer, or "" where git cannot make one."""
    work, bare = f"{folder}/hub", f"{folder}/hub.git"
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
    who = [f"GIT_{role}_{field}" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")]
    environment |= dict.fromkeys(who, "hub@example")

    def git(*arguments):
        subprocess.run(["git", *arguments], check=True, capture_output=True, env=environment)

    try:
        git("init", "--initial-branch=main", work)
        for name, content in REPOSITORIES["models", "acme/tiny-llm"].items():
            with open(f"{work}/{name}", "wb") as file:
                file.write(pointer(content) if name.endswith(LARGE) else content)
        with open(f"{work}/.gitattributes", "w", encoding="utf-8") as file:
            file.write("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
        git("-C", work, "add", ".")
        git("-C", work, "commit", "-m", "A tiny model")
        git("clone", "--bare", work, bare)
        git("-C", bare, "config", "http.receivepack", "true")
        return bare
    except (OSError, subprocess.CalledProcessError):
        return ""
