"""Reads lines "CONTENT-TYPE BODY" and writes "OK NAME:CONTENT …" or "REFUSED", all in hexadecimal digits."""

import email.parser
import email.policy
import io
import sys


def email_parts(content_type, body):
    parser = email.parser.BytesParser(policy=email.policy.compat32)
    form = parser.parsebytes(b"Content-Type: " + content_type + b"\r\n\r\n" + body)
    if not form.is_multipart():
        return None
    parts = []
    for part in form.get_payload():
        name = part.get_param("name", header="content-disposition")
        content = part._payload if isinstance(part._payload, str) else ""
        if name is not None:
            # An encoded name is a tuple of charset, language and name.
            parts.append((name[2] if isinstance(name, tuple) else name, content.encode("ascii", "surrogateescape")))
    return parts


def werkzeug_parts(content_type, body):
    from werkzeug.formparser import FormDataParser
    from werkzeug.http import parse_options_header

    kind, options = parse_options_header(content_type.decode("latin1"))
    if kind != "multipart/form-data":
        return None
    _, fields, files = FormDataParser(silent=False).parse(io.BytesIO(body), kind, len(body), options)
    parts = [(name, value.encode()) for name, value in fields.items(multi=True)]
    return parts + [(name, file.read()) for name, file in files.items(multi=True)]


def python_multipart_parts(content_type, body):
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    if not kind.startswith(b"multipart/"):
        return None
    parts, head = [], {}

    def begin():
        head.update(fields=[], name=b"", value=b"", content=b"")

    def add(member):
        return lambda data, start, end: head.update({member: head[member] + data[start:end]})

    def end_field():
        head["fields"].append((head["name"].lower(), head["value"]))
        head.update(name=b"", value=b"")

    def end():
        dispositions = [value for name, value in head["fields"] if name == b"content-disposition"]
        _, options = parse_options_header(dispositions[0] if dispositions else b"")
        parts.append((options.get(b"name", b""), head["content"]))

    parser = MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": begin,
            "on_header_field": add("name"),
            "on_header_value": add("value"),
            "on_header_end": end_field,
            "on_part_data": add("content"),
            "on_part_end": end,
        },
    )
    parser.write(body)
    return parts if "END" in str(parser.state) else None


PARSERS = {"email": email_parts, "werkzeug": werkzeug_parts, "python-multipart": python_multipart_parts}


def digits(text):
    return (text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogateescape")).hex()


for line in sys.stdin:
    try:
        parts = PARSERS[sys.argv[1]](*(bytes.fromhex(word) for word in line.rstrip("\n").split(" ")))
    except Exception:
        parts = None
    if parts is None:
        print("REFUSED")
    else:
        print("OK" + "".join(f" {digits(name)}:{content.hex()}" for name, content in parts))
