"""The forms of tests/data/forms/readings.jsonl.

cases.py forms [COUNT SEED]             writes a line "CONTENT-TYPE BODY" for each, in hexadecimal digits
cases.py readings FOLDER [COUNT SEED]   joins them with what the parsers wrote
"""

import json
import random
import sys

FIELDS = {b"filename", b"ttl", b"oppo_file", b"xiaomi_file", b"image_type"}
PARSERS = ["commons", "tomcat", "go", "email", "werkzeug", "python-multipart"]
FORM = b"multipart/form-data; boundary=xyz"
FILE = b"\r\n PNG \r\n"
END = b"--xyz--\r\n"


def part(disposition, content, more=b""):
    return b"--xyz\r\nContent-Disposition: " + disposition + more + b"\r\n\r\n" + content + b"\r\n"


XIAOMI = part(b'form-data; name="xiaomi_file"; filename="x.png"', FILE)
OPPO = part(b'form-data; name="oppo_file"; filename="o.png"', FILE)
TYPE = part(b'form-data; name="image_type"', b"1")
LIST = part(b'form-data; name="filename"; filename="l.txt"', b"anna\nboris\n")
TTL = part(b'form-data; name="ttl"', b"24")


def oppo(disposition):
    """A form with pictures for both channels; `oppo` is the part for OPPO."""
    return XIAOMI + TYPE + part(disposition, FILE) + END


def listed(disposition, more=b""):
    return TTL + part(disposition, b"anna", more) + END


# Forms as real clients write them, or may write them.
LAWFUL = [
    ("two parts", TTL + LIST + END),
    (
        "leading CRLF, as the old Java SDK sends it",
        b"\r\n" + TTL + LIST.replace(b"\r\n\r\n", b"\r\nContent-Type:text/plain\r\n\r\n", 1) + END,
    ),
    ("no closing boundary, as a Go SDK sends it", TTL + LIST[:-3]),
    ("quoted boundary, as .NET sends it", TTL + LIST + END, b'multipart/form-data; boundary="xyz"'),
    ("charset in front of the boundary", TTL + LIST + END, b"Multipart/Form-Data;charset=utf-8;BOUNDARY=xyz"),
    (
        "curl",
        b'--------------------------6fd6ff237027ae34\r\nContent-Disposition: form-data; name="filename"; filename="registration_id.txt"\r\nContent-Type: text/plain\r\n\r\nanna\r\n--------------------------6fd6ff237027ae34\r\nContent-Disposition: form-data; name="ttl"\r\n\r\n720\r\n--------------------------6fd6ff237027ae34--\r\n',
        b"multipart/form-data; boundary=------------------------6fd6ff237027ae34",
    ),
    (
        "a browser, one file not chosen",
        b'------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name="oppo_file"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name="xiaomi_file"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
        + FILE
        + b'\r\n------WebKitFormBoundaryA1\r\nContent-Disposition: form-data; name="image_type"\r\n\r\n1\r\n------WebKitFormBoundaryA1--\r\n',
        b"multipart/form-data; boundary=----WebKitFormBoundaryA1",
    ),
    (
        "Python's email, folded head",
        listed(
            b'form-data;\r\n name="filename"; filename="l.txt"',
            b"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit",
        ),
    ),
    (
        "Spring's RestTemplate 4, encoded words",
        listed(
            b'form-data; name="filename"; filename="=?UTF-8?Q?=E5=90=8D=E5=8D=95.txt?="',
            b"\r\nContent-Type: text/plain\r\nContent-Length: 4",
        ),
    ),
    (
        "encoded words over two folded lines",
        listed(b'form-data; name="filename"; filename="=?UTF-8?B?5ZCN5Y2V5ZCN5Y2V?=\r\n =?UTF-8?B?LnR4dA==?="'),
    ),
    ("RFC 5987", listed(b"form-data; name=\"filename\"; filename*=utf-8''%E5%90%8D.txt")),
    (
        "RFC 2231 in pieces",
        listed(b"form-data; name=\"filename\";\r\n filename*0*=utf-8''%E5%90%8D;\r\n filename*1*=%E5%8D%95.txt"),
    ),
    (
        "raw UTF-8 file name, as requests sends it",
        part('form-data; name="filename"; filename="名单.TXT"'.encode(), b"anna") + END,
    ),
    (
        "escaped quote in a file name, as older curl sends it",
        part(b'form-data; name="filename"; filename="a\\"b.txt"', b"anna") + END,
    ),
    ("a path of Windows", part(b'form-data; name="filename"; filename="C:\\dir\\l.txt"', b"anna") + END),
    ("preamble and epilogue", b"preamble\r\n" + TTL + LIST + END + b"epilogue\r\n"),
    ("unquoted", part(b"form-data;name=filename;filename=l.txt", b"anna") + END),
    ("semicolon in a file name", part(b'form-data; name="filename"; filename="a;b=x.txt"', b"anna") + END),
    (
        "upper case",
        TTL
        + part(b'FORM-DATA; NAME="filename"; FILENAME="l.txt"', b"anna").replace(
            b"Content-Disposition", b"CONTENT-DISPOSITION"
        )
        + END,
    ),
    ("folded name", oppo(b'form-data;\r\n\tname="oppo_file"; filename="o.png"')),
]

# Forms that parsers read in different ways, and similar ones.
UNCLEAR = [
    ("name inside of a file name", oppo(b'form-data; name="x"; filename="a; name=oppo_file; b"')),
    ("name inside of a file name in front", oppo(b'form-data; filename="a; name=oppo_file; b"; name="x"')),
    ("name between escaped quotes", oppo(b'form-data; x="a\\"; name=oppo_file; y=\\"b"')),
    ("folded colon", XIAOMI + TYPE + OPPO.replace(b"Content-Disposition:", b"Content-Disposition\r\n :") + END),
    ("folded in the name", oppo(b'form-data; name="\r\n oppo_file"; filename="o.png"')),
    (
        "two boundaries",
        XIAOMI.replace(b"xyz", b"abc") + TYPE + OPPO + END,
        b"multipart/form-data; boundary=abc; boundary=xyz",
    ),
    (
        "two boundaries, other order",
        XIAOMI.replace(b"xyz", b"abc") + TYPE + OPPO + END,
        b"multipart/form-data; boundary=xyz; boundary=abc",
    ),
    ("extended boundary", XIAOMI + TYPE + OPPO + END, b"multipart/form-data; boundary=abc; boundary*=utf-8''xyz"),
    ("boundary in pieces", XIAOMI + TYPE + OPPO + END, b"multipart/form-data; boundary*0=x; boundary*1=yz"),
    ("comma in the type", XIAOMI + TYPE + OPPO + END, b"multipart/form-data, boundary=xyz; boundary=abc"),
    ("comma behind the boundary", XIAOMI + TYPE + OPPO + END, b"multipart/form-data; boundary=xyz, text/plain"),
    ("boundary in encoded words", XIAOMI + TYPE + OPPO + END, b'multipart/form-data; boundary="=?utf-8?Q?xyz?="'),
    ("boundary with blanks at its end", XIAOMI + TYPE + OPPO + END, b'multipart/form-data; boundary="xyz "'),
    ("boundary with a quoted pair", XIAOMI + TYPE + OPPO + END, b'multipart/form-data; boundary="x\\yz"'),
    (
        "boundary behind a backslash",
        XIAOMI + TYPE + OPPO + END,
        b'multipart/form-data; charset="a\\"; boundary=xyz; x="; boundary=abc',
    ),
    ("name with blanks", oppo(b'form-data; name=" oppo_file "; filename="o.png"')),
    ("name in encoded words", oppo(b'form-data; name="=?UTF-8?B?b3Bwb19maWxl?="; filename="o.png"')),
    ("extended name", oppo(b"form-data; name*=utf-8''oppo_file; filename=\"o.png\"")),
    ("extended and plain name", oppo(b'form-data; name="x"; name*=utf-8\'\'oppo_file; filename="o.png"')),
    ("name in pieces", oppo(b'form-data; name*0="oppo_"; name*1="file"; filename="o.png"')),
    ("quoted pair in the name", oppo(b'form-data; name="oppo\\_file"; filename="o.png"')),
    ("percent in the name", oppo(b'form-data; name=oppo%5Ffile; filename="o.png"')),
    ("two names", oppo(b'form-data; name="x"; filename="o.png"; name="oppo_file"')),
    ("name behind two backslashes", oppo(b'form-data; filename="o\\\\"; name="oppo_file"')),
    ("name behind one backslash", oppo(b'form-data; name="x"; filename="o\\"; name="oppo_file"')),
    ("stray quote", oppo(b'form-data; x=a"b; y="; name="oppo_file"; z="')),
    ("stray quote behind a value", oppo(b'form-data; x="a"b"; name="oppo_file"')),
    ("quote that is not closed", oppo(b'form-data; x="; name="oppo_file"')),
    ("blank in an unquoted value", oppo(b'form-data; x=a name=oppo_file; filename="o.png"')),
    ("no semicolon", oppo(b'form-data name="oppo_file"; filename="o.png"')),
    (
        "two dispositions",
        oppo(b'form-data; name="x"\r\nContent-Disposition: form-data; name="oppo_file"; filename="o.png"'),
    ),
    ("blank in front of the first line", XIAOMI + TYPE + OPPO.replace(b"Content-D", b" Content-D") + END),
    ("blank in front of the colon", XIAOMI + TYPE + OPPO.replace(b"tion:", b"tion :") + END),
    ("LF between head lines", XIAOMI + TYPE + OPPO.replace(b"Content-D", b"X: y\nContent-D") + END),
    ("CR between head lines", XIAOMI + TYPE + OPPO.replace(b"Content-D", b"X: y\rContent-D") + END),
    ("NUL in the name", oppo(b'form-data; name="oppo_file\0"; filename="o.png"')),
    (
        "no head: the next empty line ends one",
        XIAOMI
        + TYPE
        + b'--xyz\r\n\r\nX: y\r\nContent-Disposition: form-data; name="oppo_file"; filename="o.png"\r\n\r\n'
        + FILE
        + b"\r\n"
        + END,
    ),
    (
        "CR in front of the head's end",
        XIAOMI
        + TYPE
        + b'--xyz\r\nX: y\r\r\n\r\nContent-Disposition: form-data; name="oppo_file"; filename="o.png"\r\n\r\n'
        + FILE
        + b"\r\n"
        + END,
    ),
    ("first boundary in the middle of a line", b"junk" + OPPO + XIAOMI + TYPE + END),
    ("first boundary behind LF", b"junk\n" + OPPO + XIAOMI + TYPE + END),
    ("LF alone", (TTL + LIST + END).replace(b"\r\n", b"\n")),
    ("LF behind a boundary", XIAOMI + TYPE + OPPO.replace(b"--xyz\r\n", b"--xyz\n", 1) + END),
    ("boundary behind LF", XIAOMI + TYPE[:-2] + b"\n" + OPPO + END),
    ("boundary with blanks behind it", XIAOMI + TYPE + OPPO.replace(b"--xyz\r\n", b"--xyz \t\r\n", 1) + END),
    (
        "longer line with the boundary",
        XIAOMI + TYPE + part(b'form-data; name="x"', b"a\r\n--xyzz\r\n" + OPPO[7:-2]) + END,
    ),
    ("closing boundary with more behind it", XIAOMI + TYPE + b"--xyz--z\r\n" + OPPO + END),
    ("part behind the closing boundary", XIAOMI + TYPE + END + OPPO + END),
    (
        "nested form",
        XIAOMI
        + TYPE
        + part(
            b'form-data; name="x"',
            b'--sub\r\nContent-Disposition: attachment; filename="a"\r\n\r\nb\r\n' + OPPO + b"--sub--",
            b"\r\nContent-Type: multipart/mixed; boundary=sub",
        )
        + END,
    ),
    (
        "nested form of a file",
        TYPE
        + part(
            b'form-data; name="oppo_file"',
            FILE + b'\r\n--sub\r\nContent-Disposition: attachment; filename="a"\r\n\r\nb\r\n--sub--',
            b"\r\nContent-Type: Multipart/Mixed; boundary=sub",
        )
        + END,
    ),
    ("head with a boundary in it", b"--xyz\r\nX: y\r\n" + OPPO + XIAOMI + TYPE + END),
    ("two boundary lines", b"--xyz\r\n" + OPPO + XIAOMI + TYPE + END),
]

# Pieces that are inserted into changed forms.
PIECES = [b"\r\n", b"\n", b"\r", b" ", b"\t", b'"', b"\\", b";", b"=", b":", b",", b"*", b"%", b"'", b"--", b"xyz"]
PIECES += [b"\r\n\r\n", b"\0", b"\x85", b"\xa0", b"\xc3", b"--xyz", b"name", b'name="oppo_file"', b"; name=oppo_file"]
PIECES += [b'filename="', b"boundary=abc", b"=?UTF-8?Q?oppo_file?=", b"Content-Type: multipart/mixed; boundary=xyz"]
PIECES += [b'Content-Disposition: form-data; name="oppo_file"']


def cases():
    for lawful, rows in [(True, LAWFUL), (False, UNCLEAR)]:
        for name, body, *content_type in rows:
            yield name, lawful, (content_type or [FORM])[0], body


def changed(random, text):
    """Inserts or removes a piece, mostly where heads and boundaries begin."""
    starts = [at for at in range(len(text)) if text[at:].startswith((b"Content", b"--xyz", b"name"))]
    if starts and random.random() < 0.8:
        at = max(0, random.choice(starts) + random.randrange(-4, 30))
    else:
        at = random.randrange(len(text) + 1)
    choice = random.random()
    if choice < 0.6:
        return text[:at] + random.choice(PIECES) + text[at:]
    if choice < 0.8:
        return text[:at] + text[at + random.randrange(1, 4) :]
    copied, to = text[at : at + random.randrange(1, 30)], random.randrange(len(text) + 1)
    return text[:to] + copied + text[to:]


def changes(count, seed):
    rows, dice = list(cases()), random.Random(seed)
    for number in range(count):
        name, _, content_type, body = dice.choice(rows)
        for _ in range(dice.choice([1, 1, 2, 3])):
            if dice.random() < 0.15:
                content_type = changed(dice, content_type).strip(b" \t")
            else:
                body = changed(dice, body)
        if not any(byte in content_type for byte in b"\r\n\0"):
            yield f"{name}, {number}", False, content_type, body


def reading(line):
    if line == "REFUSED":
        return None
    parts = [[bytes.fromhex(word) for word in part.split(":")] for part in line.split(" ")[1:]]
    return [[name.decode("latin1"), content.decode("latin1")] for name, content in parts if name in FIELDS]


def main(what, *arguments):
    numbers = [int(argument) for argument in arguments[what == "readings" :]]
    forms = list(changes(*numbers) if numbers else cases())
    if what == "forms":
        for _, _, content_type, body in forms:
            print(content_type.hex(), body.hex())
        return
    texts = {parser: open(f"{arguments[0]}/{parser}.txt").read().splitlines() for parser in PARSERS}
    for number, (name, lawful, content_type, body) in enumerate(forms):
        form = {"name": name, "lawful": lawful}
        form |= {"content_type": content_type.decode("latin1"), "body": body.decode("latin1")}
        form["readings"] = {parser: reading(lines[number]) for parser, lines in texts.items()}
        print(json.dumps(form))


main(*sys.argv[1:])
