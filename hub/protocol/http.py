"""What the server and the REST edge agree on beside ASGI."""

BODY_TIME = "hub.body_time"
"""An extension of a request's scope: `within(seconds)` gives the rest of its body another deadline, from now on."""
