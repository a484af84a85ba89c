"""Every service outside, in one process, as examples/genai/outside does it: hosts of internet.zone at their addresses, under
their own names. What that example has already is taken from there."""

import os
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLE = HERE.parent.parent.parent / "examples/genai"
sys.path += [str(EXAMPLE / "outside"), str(EXAMPLE / "programs")]

import bedrock
import gemini
import index
import llm
import mcp_server
import npm
import registry
import tls
import zone
from bucket import Bucket
from hub import EDGES, HOST, REPOSITORIES, Hub
from web import Reply, Server

# Somebody else's, which no policy allows.
REPOSITORIES["models", "evil/model"] = {"config.json": b"{}\n"}
index.WHEELS["evil-package"] = index.make_wheel("evil-package")
OBJECTS = {"raw/part-0.txt": b"water stays outside\n" * 64}


def say(line):
    print(line, flush=True)


def packages(request):
    """The index of the example, and what twine sends to one."""
    if request.method == "POST":
        say(f"index: took a package, {len(request.body)} bytes")
        return Reply(200)
    return index.site(request)


def routed(request):
    """Where the hub has models asked: the model in the path, then the interface."""
    _, interface, rest = request.path.partition("/v1/")
    return llm.openai(replace(request, path=interface + rest))


def all_sites(folder, names):
    hub, images = Hub(folder, say), registry.Registry(say)
    buckets = {name: Bucket(name.split(".")[0], say, OBJECTS) for name in names if ".s3." in name}
    return {
        HOST: hub.site,
        "router.huggingface.co": routed,
        **{edge: hub.edge for edge in EDGES.values()},
        "api.openai.com": llm.openai,
        "api.anthropic.com": llm.anthropic,
        gemini.HOST: gemini.site,
        bedrock.HOST: bedrock.site,
        "python.packages.acme.example": packages,
        npm.HOST: npm.Registry(say).site,
        **{name: bucket.site for name, bucket in buckets.items()},
        registry.HOST: images.site,
        registry.EDGE: images.edge,
        "tools.acme.example": mcp_server.Tools(say).site,
    }


def main():
    zone.FILE, lab = HERE / "internet.zone", os.environ["COFFERDAM_LAB"]
    names = zone.addresses()
    with tempfile.TemporaryDirectory(dir=lab) as folder:
        authority, sites = tls.Authority(folder, lab), all_sites(folder, names)
        for address in sorted({names[name] for name in sites}):
            here = {name: site for name, site in sites.items() if names[name] == address}
            context = tls.by_name({name: authority.context(name) for name in here})
            threading.Thread(target=Server(address, 443, here, context).serve_forever, daemon=True).start()
        authority.publish(f"{lab}/ca.pem")
        say(f"{len(sites)} hosts")
        threading.Event().wait()


if __name__ == "__main__":
    main()
