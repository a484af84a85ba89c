"""Cluster DNS: unbound, with the cluster's names and the outside's. It asks nobody else.

The cluster's come from the file COFFERDAM_HOSTS ("address name…" lines), which the lab writes once all pods have
addresses; the outside's are a zone of which unbound takes itself to be in charge.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "outside"))

import zone
from pipeline import say

SETTINGS = """\
server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-ip6: no
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  logfile: ""
  verbosity: 0
  module-config: "iterator"
  local-zone: "cluster.local." static
  local-data: "cluster.local. 30 IN SOA localhost. nobody.invalid. 1 3600 1200 604800 30"
{local}
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "{folder}/internet.zone"
  for-upstream: yes
  for-downstream: no
  fallback-enabled: no
"""


def cluster():
    """(name, address) of everything in the cluster."""
    for line in Path(os.environ["COFFERDAM_HOSTS"]).read_text(encoding="utf-8").splitlines():
        address, *names = line.split()
        yield from ((name, address) for name in names if name.endswith(".cluster.local"))


def main(outside):
    folder = Path(os.environ["COFFERDAM_LAB"]) / "resolver"
    folder.mkdir(exist_ok=True)
    names = list(cluster())
    kind = {True: "AAAA", False: "A"}
    local = "\n".join(f'  local-data: "{name}. 30 IN {kind[":" in address]} {address}"' for name, address in names)
    (folder / "unbound.conf").write_text(SETTINGS.format(folder=folder, local=local), encoding="utf-8")
    inside = [at for name, at in names if name == "vector-db-0.serve.pod.cluster.local" and ":" not in at]
    taken_over = "".join(f"forgotten-2.us.aws.cdn.hf.co. A {at}\n" for at in inside)
    (folder / "internet.zone").write_text(outside.read_text(encoding="utf-8") + taken_over, encoding="utf-8")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    say(f"answers for {len(names)} names of the cluster")
    os.execvp("unbound", ["unbound", "-d", "-c", str(folder / "unbound.conf")])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--zone", type=Path, default=zone.FILE)
    main(arguments.parse_args().zone)
