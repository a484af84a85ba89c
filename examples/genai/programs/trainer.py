"""One process of a distributed training job.

Everyone downloads the base model from the hub, registers with the master on the rendezvous port (29500) and learns
who takes part; then, every round, reads features, exchanges gradients with every other process on the collective
range (40000 and up), and averages. The master writes a checkpoint at the end. A worker that `--poisoned` names runs
the attacker's code afterwards: it came with the data.
"""

import argparse
import json
import socket
import threading
import time

import clients
import pipeline
from pipeline import POD, ask, connect, finish, name_lookup, report, say

RENDEZVOUS, COLLECTIVE = 29500, 40000
MASTER = "llm-trainer-master-0.train.pod"
ROUNDS = 3


def line(stream):
    with stream.makefile("r", encoding="utf-8") as file:
        return file.readline()


def listen(port):
    server = socket.create_server(("", port), backlog=64)
    server.settimeout(30)
    return server


def lead(world):
    """Rank 0: collects the names of the others, tells everybody the whole list."""
    members, waiting = [POD], []
    with listen(RENDEZVOUS) as server:
        while len(members) < world:
            stream, _ = server.accept()
            members.append(line(stream).strip())
            waiting.append(stream)
        for stream in waiting:
            stream.sendall((json.dumps(members) + "\n").encode())
            stream.close()
    return members


def join():
    """Any other rank: registers with the master."""
    for _ in range(pipeline.PATIENCE):
        try:
            with connect(MASTER, RENDEZVOUS, timeout=30) as stream:
                stream.sendall(f"{POD}\n".encode())
                members = json.loads(line(stream))
            report("rendezvous", f"{MASTER}:{RENDEZVOUS}", True)
            return members
        except (OSError, ValueError):
            time.sleep(0.5)
    report("rendezvous", f"{MASTER}:{RENDEZVOUS}", False)
    return []


class Gradients(threading.Thread):
    """Answers every other rank with this rank's gradient."""

    def __init__(self, rank):
        super().__init__(daemon=True)
        self.server = listen(COLLECTIVE + rank)
        self.value = 1.0 + rank

    def run(self):
        while True:
            try:
                stream, _ = self.server.accept()
            except OSError:
                return
            with stream:
                stream.sendall(f"{self.value}\n".encode())


def exchange(members, own):
    """The average over all ranks, or None if somebody could not be reached."""
    total = own.value
    for rank, name in enumerate(members):
        if name == POD:
            continue
        target, value = f"{name}.train.pod", None
        for _ in range(pipeline.PATIENCE):
            try:
                with connect(target, COLLECTIVE + rank) as stream:
                    value = float(line(stream))
                break
            except (OSError, ValueError):
                time.sleep(0.5)
        report("gradients", f"{target}:{COLLECTIVE + rank}", value is not None)
        if value is None:
            return None
        total += value
    return total / len(members)


def download():
    """The base model: by curl everywhere, by the hub's own client and git on one worker, for which the others wait."""
    if not clients.outside_is_up():
        return report("outside", "everything", False)
    model = "https://huggingface.co/acme/tiny-llm"
    ok = clients.curl("download-model", f"{model}/resolve/main/model.safetensors")
    if POD == "llm-trainer-worker-0":
        ok &= clients.hub("download-model", "acme/tiny-llm", "model.safetensors")
        ok &= clients.git("clone-model", model)
    return ok


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--world", type=int, required=True)
    arguments.add_argument("--poisoned", default="")
    options = arguments.parse_args()
    ok = name_lookup() and download()
    master = MASTER.startswith(f"{POD}.")
    members = lead(options.world) if master else join()
    if POD not in members:
        finish(False)
    own = Gradients(members.index(POD))
    own.start()
    for number in range(ROUNDS):
        ok &= ask("read-features", "GET", "feature-store.ingest.svc:7000", f"/batch/{number}") is not None
        average = exchange(members, own)
        ok &= average is not None
        say(f"round {number}: loss {1.0 / (number + 1):.3f}{'' if average is not None else ', gradients FAILED'}")
    if master:
        weights = json.dumps({"average": average}).encode()
        ok &= ask("write-checkpoint", "PUT", "checkpoint-store.train.svc:9000", "/llm/step-3", weights) is not None
    if options.poisoned == POD:
        import attacker

        attacker.run()
    time.sleep(5)  # the slower ranks may still be asking for this one's gradient
    finish(ok)


if __name__ == "__main__":
    main()
