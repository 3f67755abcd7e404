"""What is built on the connections to Redis."""

from hub.relay.allowances import Allowances
from hub.relay.bot_line import BotLine
from hub.relay.broadcast import Broadcast
from hub.relay.connection import Redis
from hub.relay.fence import Fence
from hub.relay.holdings import Holdings
from hub.relay.limits import Limits
from hub.relay.open_messages import OpenMessages
from hub.relay.pipeline import Pipeline
from hub.relay.presence import Presence
from hub.relay.publisher import Publisher
from hub.relay.subscriber import Subscriber


class RelayParts:
    """One pipeline for what goes out, one subscriber for what comes in, and `redis` for what wants an answer."""

    def __init__(self, url: str) -> None:
        self.redis = Redis(url)
        self.pipeline = Pipeline(url)
        self.subscriber = Subscriber(url, self.pipeline)
        self.publisher = Publisher(self.pipeline, self.subscriber)
        self.broadcast = Broadcast(self.publisher)
        self.open_messages = OpenMessages(self.redis)
        self.presence = Presence(self.pipeline)
        self.fence = Fence(self.redis)
        self.bot_line = BotLine(self.pipeline, self.subscriber)
        self.limits = Limits(self.redis)
        self.allowances = Allowances(self.pipeline)
        self.holdings = Holdings(self.pipeline)
