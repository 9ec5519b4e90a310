"""Logging in: the keys of the user, one after the other, until the server is content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from paramiko.auth_handler import AuthHandler
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

from nodectl.model import Reason, Unreachable
from nodectl.transport.attempt import Attempt
from nodectl.transport.base import Failure, inner
from nodectl.transport.client import ClientTransport
from nodectl.transport.keys import Candidates, Identity, KeyRing
from nodectl.transport.settings import HostSettings


class Answer(NamedTuple):
    """What the server said to one attempt: `methods` are what it would take next."""

    accepted: bool
    methods: tuple[str, ...]
    partial: bool


class LoginHandler(AuthHandler):
    """The client's half of RFC 4252.

    paramiko's own handlers sign in the thread that reads the connection, where an agent that refuses kills the
    connection, and ask for the service anew before each key. Here the caller signs, and the service is asked for once.
    """

    def __init__(self, transport: ClientTransport, wait: Callable[[threading.Event], None]) -> None:
        super().__init__(transport)
        self._link = transport
        self._wait = wait
        self._service = threading.Event()
        self._answer: Answer | None = None
        self.auth_event = self._service  # set by abort() when the connection ends

    def begin(self) -> None:
        """Ask for the login service."""
        message = Message()
        message.add_byte(cMSG_SERVICE_REQUEST)
        message.add_string("ssh-userauth")
        self._link._send_message(message)
        self._await(self._service)

    def offer_key(self, user: str, identity: Identity) -> Answer:
        """One key, signed at once (no question first: that would cost a round trip for every node)."""
        kind, blob = inner(self)._get_key_type_and_bits(identity.key)
        algorithm = inner(self)._finalize_pubkey_algorithm(kind)
        to_sign = inner(self)._get_session_blob(identity.key, "ssh-connection", user, algorithm)
        signature = identity.key.sign_ssh_data(to_sign, algorithm)

        def key_fields(message: Message) -> None:
            message.add_boolean(True)
            message.add_string(algorithm)
            message.add_string(blob)
            message.add_string(signature)

        return self._request(user, "publickey", key_fields)

    def offer_nothing(self, user: str) -> Answer:
        """The method `none`: some servers let in on other grounds, all say what they would take."""
        return self._request(user, "none", lambda message: None)

    def _request(self, user: str, method: str, fields: Callable[[Message], None]) -> Answer:
        self.auth_method, self.username = method, user
        message = Message()
        message.add_byte(cMSG_USERAUTH_REQUEST)
        message.add_string(user)
        message.add_string("ssh-connection")
        message.add_string(method)
        fields(message)
        event = threading.Event()
        self._answer, self.auth_event = None, event
        self._link._send_message(message)
        self._await(event)
        if self._answer is None:
            raise EOFError
        return self._answer

    def _await(self, event: threading.Event) -> None:
        self._wait(event)
        if not self._link.is_active():
            raise self._link.get_exception() or EOFError()

    def _parse_service_accept(self, m: Message) -> None:
        self._service.set()

    def _parse_userauth_success(self, m: Message) -> None:
        self._answer = Answer(True, (), False)
        inner(super())._parse_userauth_success(m)

    def _parse_userauth_failure(self, m: Message) -> None:
        methods, partial = tuple(m.get_list()), m.get_boolean()
        self._answer = Answer(False, methods, partial)
        if self.auth_event is not None:
            self.auth_event.set()


def log_in(link: ClientTransport, settings: HostSettings, user: str, keys: KeyRing, attempt: Attempt) -> str:
    """Log `user` in.

    Returns:
        the name of the identity that was accepted.

    Raises:
        Failure: no identity was accepted, with what was offered and what was wrong.
    """
    candidates = keys.candidates(settings, user, attempt)
    handler = LoginHandler(link, attempt.wait)
    link.auth_handler = handler
    offered: list[str] = []
    try:
        handler.begin()
        return _offer_all(handler, candidates, user, keys, attempt, offered)
    except (SSHException, EOFError, OSError) as exc:
        attempt.check()
        said = link.disconnect_text or ("" if isinstance(exc, EOFError) else str(exc))
        problem = f"the server ended the connection{f' ({said})' if said else ''}"
        raise Failure(_auth_reason(attempt.target, user, offered, candidates, problem)) from None
    except Failure as failure:
        if not settings.unsupported or attempt.over:
            raise
        hint = f"your ssh config sets {', '.join(settings.unsupported)}: `transport: openssh` can do that"
        raise Failure(Reason(failure.reason.code, failure.reason.text, hint)) from None


def _offer_all(
    handler: LoginHandler, candidates: Candidates, user: str, keys: KeyRing, attempt: Attempt, offered: list[str]
) -> str:
    methods: tuple[str, ...] = ()
    partial = False
    for identity in candidates.identities:
        offered.append(identity.name)
        try:
            answer = _offer(handler, identity, user, attempt)
        except SSHException as exc:
            attempt.check()
            if not handler._link.is_active():
                raise
            candidates.problems.append(f"{identity.name}: {exc}")
            continue
        if answer.accepted:
            keys.remember(user, identity)
            return identity.name
        if identity.note:
            candidates.problems.append(f"{identity.name}: {identity.note}")
        methods, partial = answer.methods, partial or answer.partial
        if "publickey" not in methods:
            break
    if not methods:
        offered_nothing = handler.offer_nothing(user)
        if offered_nothing.accepted:
            return "none"
        methods = offered_nothing.methods
    problem = f"the server takes {', '.join(methods)[:100] or 'nothing'}"
    if partial:
        problem = f"one key was accepted, but the server wants more: {', '.join(methods)[:100]}"
    raise Failure(_auth_reason(attempt.target, user, offered, candidates, problem))


def _offer(handler: LoginHandler, identity: Identity, user: str, attempt: Attempt) -> Answer:
    if identity.agent is None:
        return handler.offer_key(user, identity)
    with identity.agent.within(attempt):
        return handler.offer_key(user, identity)


def _auth_reason(target: str, user: str, offered: list[str], candidates: Candidates, problem: str) -> Reason:
    count = len(offered)
    what = f"none of {count} keys was accepted ({', '.join(offered)})" if count else "there was no key to offer"
    if count == 1:
        what = f"the key was not accepted ({offered[0]})"
    parts = [f"{target}: login as {user} failed: {what}", problem, *candidates.problems]
    return Reason(Unreachable.AUTH.value, "; ".join(parts), _auth_hint(count, problem, candidates))


def _auth_hint(count: int, problem: str, candidates: Candidates) -> str:
    known = " ".join(candidates.problems)
    if "oo many authentication failures" in problem:
        return (
            "name the right key (IdentityFile and IdentitiesOnly yes in your ssh config): the server stopped counting"
        )
    if "encrypted" in known:
        return "ssh-add the encrypted key first; nodectl never asks for a passphrase"
    if "certificate expired" in known:
        return "have the certificate renewed"
    if problem.startswith("the server takes") and "publickey" not in problem:
        return "for Kerberos or other methods set `transport: openssh` for this node; passwords are never used"
    if count == 0:
        return "start an agent and ssh-add a key, or name one with identity_file"
    return "is the public key in ~/.ssh/authorized_keys there, and is the user right? try: ssh -v"
