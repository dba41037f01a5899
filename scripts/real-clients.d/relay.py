"""Relays between a client and the gateway, and breaks the first connections that carry a push, while it is in flight.

relay.py GATEWAY_PORT VENDOR_PORT BREAKS fin|rst: prints its port, then a line for each push that it received.
"""

import http.client
import json
import select
import socket
import struct
import sys
import threading
import time

gateway, vendor, breaks = map(int, sys.argv[1:4])
# With a linger time of 0, closing resets the connection instead of ending it.
LINGER = struct.pack("ii", int(sys.argv[4] == "rst"), 0)
pushes = 0


def vendor_has_it():
    connection = http.client.HTTPConnection("127.0.0.1", vendor, timeout=5)
    connection.request("GET", "/_sandbox/journal")
    return any(entry["operation"] == "push" for entry in json.load(connection.getresponse()))


def break_off(ends):
    # A repeat has no journal entry to wait for: after this time the gateway has read it whole.
    time.sleep(0.1)
    # Closes the gateway's side first: the guard must learn of the break before the client sends again, or it takes the
    # repeat for another push.
    for end in reversed(ends):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        end.close()


def relay(client):
    global pushes
    ends = client, socket.create_connection(("127.0.0.1", gateway))
    doomed = False
    while True:
        readable, _, _ = select.select(ends, [], [], 0.01)
        for end in readable:
            piece = end.recv(65536)
            if not piece:
                return [each.close() for each in ends]
            if end is client and piece.startswith(b"POST /v3/push "):
                pushes += 1
                doomed = pushes <= breaks
                print("push", pushes, "broken" if doomed else "relayed", flush=True)
            ends[end is client].sendall(piece)
        if doomed and not readable and vendor_has_it():
            return break_off(ends)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=relay, args=listener.accept()[:1], daemon=True).start()
