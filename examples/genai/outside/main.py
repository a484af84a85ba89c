"""Everything outside the cluster, in one process: the hosts of internet.zone at their addresses, under their own
names, with certificates of an authority that is made at the start. Clients find it as ca.pem in the lab's folder,
once all of this runs."""

import os
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "programs"))

import dns
import index
import llm
import sites
import tls
import zone
from bucket import Bucket
from hub import EDGES, HOST, Hub
from web import Server

RESOLVER, ATTACKERS, METADATA = "dns.resolver.example", "collect.attacker.example", "169.254.169.254"
CORPUS = {"raw/part-0.txt": b"water stays outside\n" * 64}


def say(line):
    print(line, flush=True)


def all_sites(folder, names):
    hub = Hub(folder, say)
    buckets = {name: Bucket(name.split(".")[0], say) for name in names if ".s3." in name}
    buckets["acme-datasets.s3.eu-west-1.amazonaws.com"].objects |= CORPUS
    attackers = {name: sites.collector(say) for name in names if name.endswith("attacker.example")}
    return {
        HOST: hub.site,
        **{edge: hub.edge for edge in EDGES.values()},
        "api.openai.com": llm.openai,
        "api.anthropic.com": llm.anthropic,
        "python.packages.acme.example": index.site,
        RESOLVER: sites.resolver(names),
        "data.publisher.example": sites.publisher,
        **{name: bucket.site for name, bucket in buckets.items()},
        **attackers,
    }


def main():
    names = zone.addresses()
    with tempfile.TemporaryDirectory(dir=os.environ["COFFERDAM_LAB"]) as folder:
        authority, sites_of = tls.Authority(folder, os.environ["COFFERDAM_LAB"]), all_sites(folder, names)
        contexts = {name: authority.context(name) for name in sites_of}
        servers = [Server(METADATA, 80, {"*": sites.metadata})]
        for address in sorted({names[name] for name in sites_of}):
            here = [name for name in sites_of if names[name] == address]
            context = tls.by_name({name: contexts[name] for name in here})
            hosts = {name: sites_of[name] for name in here}
            if address == names[ATTACKERS]:
                # It does not care what it is called.
                hosts["*"] = sites_of[ATTACKERS]
            servers.append(Server(address, 443, hosts, context))
        servers += dns.servers(names[RESOLVER], names, contexts[RESOLVER])
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        authority.publish(f"{os.environ['COFFERDAM_LAB']}/ca.pem")
        say(f"{len(sites_of)} hosts on {len({server.server_address[0] for server in servers})} addresses")
        threading.Event().wait()


if __name__ == "__main__":
    main()
