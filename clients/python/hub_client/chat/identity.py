"""Who is chatting: what was given, what was kept, or what is asked for."""

from collections.abc import Awaitable, Callable

from hub_client.chat.options import Options
from hub_client.chat.signins import SignIns
from hub_client.credentials import Credential, FixedToken, SignIn
from hub_client.errors import NotSignedIn
from hub_client.rest import Rest, Tokens

Ask = Callable[[str, bool], Awaitable[str]]  # the question, and whether the answer is a secret
TRIES = 3


async def identify(options: Options, url: str, rest: Rest, sign_ins: SignIns, ask: Ask | None) -> Credential:
    """The credential for the hub at `url` (its HTTP address).

    `ask` is None when there is nobody to ask. Raises `NotSignedIn` with a sentence that says what to do.
    """
    fixed = options.token or options.api_key
    if fixed is not None:
        return FixedToken(fixed)
    if options.name is not None and options.password is not None:
        return SignIn(rest, name=options.name, password=options.password)
    kept = sign_ins.get(url)
    if kept is not None and options.name in (None, kept.name):
        lasting = _lasting(url, rest, sign_ins, kept.tokens)
        if await _still_good(rest, lasting):
            return lasting
        await sign_ins.forget(url)
    if ask is None:
        raise NotSignedIn(
            "not signed in at this hub: start `hub chat` in a terminal once, or give --api-key, or --name and the "
            "variable HUB_CHAT_PASSWORD"
        )
    name, tokens = await _sign_in(options.name, url, rest, ask)
    await sign_ins.put(url, name, tokens)
    return _lasting(url, rest, sign_ins, tokens)


async def _still_good(rest: Rest, sign_in: SignIn) -> bool:
    """Whether the hub (still) knows this sign-in: it may have been revoked, or be another hub's at the same address."""
    for bearer in (sign_in.token, sign_in.renew):
        rest.use(bearer)
        try:
            await rest.me()
        except NotSignedIn:
            continue
        return True
    return False


async def _sign_in(name: str | None, url: str, rest: Rest, ask: Ask) -> tuple[str, Tokens]:
    for _ in range(TRIES):
        who = name or (await ask(f"Name at {url}: ", False)).strip()
        password = await ask(f"Password of {who}: ", True)
        try:
            return who, await rest.sign_in(who, password)
        except NotSignedIn:
            answer = await ask("No account has this name and password. Make a new one? [y/N] ", False)
            if answer.strip().casefold() in ("y", "yes"):
                await rest.register(who, password)
                return who, await rest.sign_in(who, password)
    raise NotSignedIn(f"the name or the password was wrong {TRIES} times")


def _lasting(url: str, rest: Rest, sign_ins: SignIns, tokens: Tokens) -> SignIn:
    async def rotate(used: Tokens) -> Tokens:
        return await sign_ins.rotate(url, rest, used)

    return SignIn(rest, tokens=tokens, rotate=rotate)
