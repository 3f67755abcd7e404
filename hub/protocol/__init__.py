"""The wire protocol `hub.v1` (docs/protocol.md): commands, events, frames and close codes as closed unions."""

PROTOCOL = "hub.v1"
