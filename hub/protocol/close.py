"""Close codes. The range is the instruction: 4000–4099 reconnect at once, 4100–4499 reconnect after doing what the
code says, 4500–4999 do not reconnect."""

from enum import IntEnum


class Close(IntEnum):
    NORMAL = 1000
    GOING_AWAY = 1001
    POLICY = 1008
    TOO_LARGE = 1009
    RESTARTING = 1012
    DRAINING = 4000
    SLOW_CONSUMER = 4001
    CREDENTIAL_ENDED = 4100
    RATE_LIMITED = 4101
    BAD_FRAMES = 4102
    OVERLOADED = 4103
    NOT_AUTHENTICATED = 4501
    REVOKED = 4503
    BAD_VERSION = 4510
