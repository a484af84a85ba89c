"""An authority, that of the lab or else one made at the start, and a certificate for every host, by the tool openssl."""

import os
import ssl
import subprocess

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Authority:
    def __init__(self, folder, lab):
        self.folder, self.lab = folder, lab
        # The gateway of the lab believes this one.
        self.own = f"{lab}/outside-ca"
        if not os.path.exists(f"{self.own}.key"):
            self.own = f"{folder}/authority"
            files = ["-keyout", f"{self.own}.key", "-out", f"{self.own}.pem"]
            openssl("req", "-x509", *CURVE, "-subj", "/CN=Authority of the example", *files)

    def context(self, host):
        """What a server of this host needs."""
        own = f"{self.folder}/{host}"
        about = ["-subj", "/CN=host", "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=CA:FALSE"]
        signer = ["-CA", f"{self.own}.pem", "-CAkey", f"{self.own}.key"]
        openssl("req", "-x509", *CURVE, *about, *signer, "-keyout", f"{own}.key", "-out", f"{own}.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{own}.pem", f"{own}.key")
        return context

    def publish(self, path):
        """For the clients, with that of the gateway, which answers for hosts whose requests it judges; there all at once, so
        that who waits for it finds it whole."""
        with open(f"{path}.new", "wb") as file:
            for authority in filter(os.path.exists, (f"{self.own}.pem", f"{self.lab}/inspection-ca.pem")):
                with open(authority, "rb") as pem:
                    file.write(pem.read())
        os.rename(f"{path}.new", path)


def by_name(contexts):
    """One context that answers with the certificate of the host that was asked for, else with the first."""
    first = next(iter(contexts.values()))
    first.sni_callback = lambda stream, name, _: setattr(stream, "context", contexts.get(name, first))
    return first
