"""Records that JSON readers disagree about: every odd value in every field, and the oddities of the text itself."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from principal_kit.platform.contract import MAX_BYTES, MAX_DEPTH, TIME_MAX_MS

GOOD = {
    "shop.clicks": {"event_id": "c", "type": "cart_added", "version": 2, "event_time": 5, "user_id": "u",
                    "product_id": "p", "device": "phone"},
    "shop.orders": {"event_id": "o", "type": "order_placed", "version": 2, "event_time": 5, "user_id": "u",
                    "card_id": "k", "product_id": "p", "quantity": 2, "amount_cents": 900, "discount_cents": 90},
    "shop.stock_moves": {"event_id": "m", "type": "stock_received", "version": 1, "event_time": 5, "product_id": "p",
                         "quantity": 2},
}  # fmt: skip
VALUES = [  # as JSON text
    "null", '""', '" "', '"x"', '"3"', '" 3"', '"3 "', '"3\\n"', '"03"', '"-3"', '"+3"', '"3.0"', '"1e3"', '"-0"',
    '"-"', '"\\u0033"', '"\u0663"', '"\uff13"', "0", "-0", "1", "2", "-1", "3.0", "2.5", "1e3", "1E+2", "1.0", "2.0",
    '"1"', '"2"', '"01"', '"1.0"', str(10**13), str(10**14 - 1), str(10**14), str(10**17), str(10**18 - 1), str(10**18),
    str(-(10**18)), str(2**63), "9" * 400, "9" * 1100, "9" * 5000, "1e999", "-1e-999", "true", "false", "[]", "[1]",
    "{}", '{"a":1}', '[{"b":[{}]}]', '"é"', '"\\u00e9"', '"\\u0000"', '"null"', '"true"', '"\U0001f6d2"',
    '"\\ud83d\\uded2"', '"' + "x" * 70 + '"', '"\\/\\b\\f\\n\\r\\t\\"\\\\"',
]  # fmt: skip
BROKEN = [  # no JSON, wherever they stand
    "", "NaN", "Infinity", "-Infinity", "01", "-01", "+1", "1.", ".5", "1e", "1e+", "0x1", "-", "--1", "1_000", "1 2",
    "'x'", "True", "None", "nul", "nulll", "undefined", '"x', '"\t"', '"\n"', '"\x00"', '"\x7f', '"\\x"', '"\\u12"',
    '"\\u12g4"', '"\\u+123"', '"\\u 123"', '"\\0"', "[1,]", "[,1]", "[1", "[1}", '{"a":1,}', '{"a"}', '{"a":}', '{a:1}',
    "{'a':1}", '{"a":1 "b":2}', "/* c */ 1", "1 // c", "# c", "\u00a0 1", "\ufeff1", "\u20281", "\x0b1", "\x0c1",
]  # fmt: skip


def _text(fields: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items()) + "}"


def _whole(good: dict) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in good.items()}


def _fields(good: dict) -> Iterator[bytes]:
    whole = _whole(good)
    for field in good:
        rest = {name: value for name, value in whole.items() if name != field}
        yield _text(rest).encode()
        for value in (*VALUES, *BROKEN):
            yield _text({**whole, field: value}).encode()
            yield _text({**whole, "note": value}).encode()
        for version in ("1", "2", '"1"', '"2"', '"02"', "3"):
            for value in ("null", '""', '"x"', "-1", "[]", "7"):
                yield _text({**whole, "version": version, field: value}).encode()
        for first, last in ((whole[field], "null"), ("null", whole[field]), ("[]", whole[field]), (whole[field], "{}")):
            yield (
                _text({**rest, field: first})[:-1] + f",{json.dumps(field)}:{last}}}"
            ).encode()  # the last one counts
        escaped = f'"\\u{ord(field[0]):04x}{field[1:]}"'
        yield (_text(rest)[:-1] + f",{escaped}:{whole[field]}}}").encode()
        yield (_text(rest)[:-1] + f",{json.dumps(field.upper())}:{whole[field]}}}").encode()


def _texts(good: dict) -> Iterator[bytes | None]:
    text = _text(_whole(good)).encode()
    yield from (None, b"", b" ", b"{}", b"[]", b"1", b"null", b'"text"', b"[" + text + b"]", text + text, text + b" {}")
    yield from (text + b" ", b"\n\r\t " + text, b"\xef\xbb\xbf" + text, b"\x00" + text, text + b"\x00", text + b",")
    yield from (text.decode().encode(code) for code in ("utf-16-le", "utf-16-be", "utf-16", "utf-32"))
    for cut in range(0, len(text), 7):
        yield text[:cut]
    for junk in (
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x9b",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf5\x80\x80\x80",
        b"\x80",
    ):
        yield text.replace(b'"p"', b'"' + junk + b'"')  # inside of text it counts as U+FFFD
        yield text.replace(b'"p"', b'"p"' + junk)
        yield text.replace(b'"event_id"', b'"event_id' + junk + b'"')
    for depth in (MAX_DEPTH - 1, MAX_DEPTH, 1_000, 8_000):
        yield text[:-1] + b',"note":' + b"[" * depth + b"]" * depth + b"}"
        yield text[:-1] + b',"note":' + b'{"a":' * (depth // 6) + b"1" + b"}" * (depth // 6) + b"}"
        yield text[:-1] + b',"note":' + b"[" * depth + b"}"
    for size in (MAX_BYTES, MAX_BYTES + 1):
        yield text + b" " * (size - len(text))
        yield b"{" + b"x" * (size - 1)
    for time in (0, 310_009, 310_010, 310_011, TIME_MAX_MS, TIME_MAX_MS + 1):
        yield _text({**_whole(good), "event_time": str(time)}).encode()
    yield b'{"type":"heartbeat"} '
    yield b'{"type": "heartbeat"}'


def _damaged(good: dict, rng: random.Random, count: int) -> Iterator[bytes]:
    """Good records with a few bytes changed, dropped, doubled or moved."""
    alphabet = b'{}[]",:\\ \n0123456789-+.eEutrfalsn\x00\x1f\x7f\x80\xc3\xff'
    for _ in range(count):
        text = bytearray(_text(_whole(good)).encode())
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            match rng.randrange(4):
                case 0:
                    text[at] = rng.choice(alphabet)
                case 1:
                    del text[at]
                case 2:
                    text.insert(at, rng.choice(alphabet))
                case 3:
                    text[at:at] = text[at : at + rng.randint(1, 30)]
        yield bytes(text)


def odd(topic: str, *, seed: int = 0, damaged: int = 1_500) -> list[bytes | None]:
    """Different values for records of `topic`, always the same for a seed."""
    good = GOOD[topic]
    return list(
        dict.fromkeys([*_fields(good), *_texts(good), *_damaged(good, random.Random(f"{topic} {seed}"), damaged)])
    )
