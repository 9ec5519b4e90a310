"""`unshare -m python hung_mount.py FOLDER COMMAND...`: runs the command where FOLDER is a file system that hangs.

Whoever touches it waits in an uninterruptible sleep (state D), which no signal ends, just as with a dead NFS server or
a driver that is stuck. It is a FUSE mount whose server takes requests and never answers; it goes, and frees whoever
waits, when the command has ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

_INIT = 26
_PR_SET_PDEATHSIG = 1


def main() -> None:
    folder, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    # Without MS_PRIVATE on / first (unshare does that), this mount would be seen by everybody.
    if libc.mount(b"hung", folder.encode(), b"fuse", 0, options) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    ready, told = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        os.setsid()
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.close(ready)
        _serve(device, told)
    os.close(device)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    os.execvp(command[0], command)


def _serve(device: int, told: int) -> None:
    while True:
        request = os.read(device, 1 << 20)
        _, opcode, unique = struct.unpack_from("=IIQ", request)
        if opcode == _INIT:
            answer = struct.pack("=IIIIHHIIHHI", 7, 31, 65536, 0, 12, 9, 65536, 1, 32, 0, 0) + b"\0" * 28
            os.write(device, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)
            os.write(told, b"!")


if __name__ == "__main__":
    main()
