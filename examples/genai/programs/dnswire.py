"""DNS messages, as little of them as a question for an address and its answer need."""

import socket
import struct

A = 1


def query(name, number=7):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", A, 1)


def question(packet):
    """The name that a query asks for and where its question ends, or None if it is no query."""
    labels, at = [], 12
    while at < len(packet) and packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode("ascii", "replace"))
        at += 1 + packet[at]
    return (".".join(labels).lower(), at + 5) if at + 5 <= len(packet) else None


def answer(packet, addresses):
    """The answer to a query from a table of names, or None if it is no query."""
    asked = question(packet)
    if not asked:
        return None
    name, end = asked
    address = addresses.get(name)
    head = packet[:2] + struct.pack("!5H", 0x8180 if address else 0x8183, 1, 1 if address else 0, 0, 0)
    record = struct.pack("!3HIH", 0xC00C, A, 1, 60, 4) + socket.inet_aton(address) if address else b""
    return head + packet[12:end] + record


def read(packet):
    """(response code, addresses) of an answer."""
    code, count = packet[3] & 15, struct.unpack("!H", packet[6:8])[0]
    _, at = question(packet)
    found = []
    for _ in range(count):
        while packet[at] and packet[at] < 192:
            at += 1 + packet[at]
        at += 2 if packet[at] else 1
        kind, length = struct.unpack("!H6xH", packet[at : at + 10])
        if kind == A:
            found.append(socket.inet_ntoa(packet[at + 10 : at + 14]))
        at += 10 + length
    return code, found
