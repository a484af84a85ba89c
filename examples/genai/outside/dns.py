"""A public resolver on every way there is to ask one: UDP and TCP on 53, TLS on 853, UDP on a port of its own choice.
(HTTPS is a site, see sites.py.)"""

import socketserver
import struct

import dnswire

CHOSEN = 5353


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        packet, stream = self.request
        reply = dnswire.answer(packet, self.server.names)
        if reply:
            stream.sendto(reply, self.client_address)


class Stream(socketserver.StreamRequestHandler):
    timeout = 5

    def handle(self):
        while len(head := self.rfile.read(2)) == 2:
            reply = dnswire.answer(self.rfile.read(struct.unpack("!H", head)[0]), self.server.names)
            if not reply:
                return
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class Udp(socketserver.ThreadingUDPServer):
    daemon_threads = True


class Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass


def servers(address, names, context):
    """All of them, bound and not yet running."""
    made = [Udp((address, 53), Datagram), Udp((address, CHOSEN), Datagram), Tcp((address, 53), Stream)]
    tls = Tcp((address, 853), Stream)
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    made.append(tls)
    for server in made:
        server.names = names
    return made
