"""Every key and channel of the hub in Redis. What belongs to a session shares the hash tag `{session}`."""

from hub.domain.ids import SessionId

BOTS = b"hub:bots"  # turns that bots are sought for, and bots that have come
WORKERS = b"hub:workers"  # sorted set: who counts what is held → until when they live
NOTICES = b"hub:notices"  # what every worker should know at once (a queued run, a stop, a revocation)


def channel(session: SessionId) -> bytes:
    """Where the frames of a session travel."""
    return f"hub:{{{session}}}".encode()


def worker(node: str) -> bytes:
    """A worker's own channel: its subscriber listens to itself there."""
    return f"hub:worker:{node}".encode()


def bot_line(address: str) -> bytes:
    """Where a worker hears what is meant for its runs' and its connections' turns of bots."""
    return f"hub:bots:{address}".encode()


def fence(session: SessionId) -> bytes:
    """The highest lease epoch that may write for the session."""
    return f"hub:{{{session}}}:fence".encode()


def open_messages(session: SessionId) -> bytes:
    """Set: the keys of the texts of messages that are being written."""
    return f"hub:{{{session}}}:open".encode()


def text_prefix(session: SessionId) -> bytes:
    """`<prefix><message>`: what is known about an open message, and its text so far (`hub.relay.open_messages`)."""
    return f"hub:{{{session}}}:text:".encode()


def presence(session: SessionId) -> bytes:
    """Hash: one field per connection that is here."""
    return f"hub:{{{session}}}:presence".encode()


def announced(session: SessionId) -> bytes:
    """Hash: user → what the session was last told about them."""
    return f"hub:{{{session}}}:announced".encode()


def ticket(kind: str, digest: str) -> bytes:
    """A one-time ticket of one kind."""
    return f"hub:{kind}:{digest}".encode()


def limit(name: str) -> bytes:
    """A rate limit."""
    return f"hub:limit:{name}".encode()


def held(holder: str) -> bytes:
    """Hash: worker → how much of something one holder holds there."""
    return f"hub:held:{holder}".encode()
