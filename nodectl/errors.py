"""The one kind of error that is the user's to mend."""

from __future__ import annotations


class UserError(Exception):
    """Something is wrong with what the user gave: a file, a name, a folder.

    Its text says what is wrong, where (`file:line`), and what was expected or what to do; the command line prints it as
    it is and ends with exit code 2. Everything else that is raised is a fault of nodectl.
    """
