"""When the agent must end: its channel, its parent or its reader is gone, or a signal came.

PR_SET_PDEATHSIG is not asked for: it fires when the thread that started the agent ends, be its process as well as ever.
"""

import os
import resource
import signal
import typing


def be_nice() -> None:
    """Lets everything else on the node go first."""
    try:
        os.nice(10)
    except OSError:
        return


def cpu_s() -> float:
    """CPU time used by this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Lifetime:
    """Why to end; empty while there is no reason.

    stdin is the channel: its end is the end. Signals only set the reason, and wake the main loop through `bell`.
    """

    SIGNALS = ("SIGHUP", "SIGTERM", "SIGINT")

    def __init__(self, stdin: "int | None", parent: "int | None", bell: int) -> None:
        self.why = ""
        self.stdin = stdin
        self._parent = parent or os.getppid()
        signal.set_wakeup_fd(bell)
        for name in self.SIGNALS:
            signal.signal(getattr(signal, name), self._signalled)
        self.look()

    def _signalled(self, number: int, frame: "typing.Any") -> None:
        self.why = self.why or "signal %d" % number

    def read_stdin(self) -> None:
        """Called when stdin can be read: nothing is said there, but its end."""
        if self.stdin is None:
            return
        try:
            if not os.read(self.stdin, 65536):
                self.why = self.why or "stdin closed"
        except BlockingIOError:
            return
        except OSError as error:
            self.why = self.why or "stdin: %s" % error.strerror

    def look(self) -> None:
        """Looks whether the parent is still there."""
        if os.getppid() != self._parent:
            self.why = self.why or "parent gone"
