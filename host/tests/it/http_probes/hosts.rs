//! The header `host`.

use super::{COUNTED, COUNTED_LAST, MALFORMED, Probe, Rule, probe};

const INVALID: Rule = Rule(
    "RFC 9112, section 3.2",
    "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header \
     field and to any request message that contains more than one Host header field line or a Host header field with an \
     invalid field value.",
);
const VALID: Rule = Rule("RFC 9110, section 7.2", "Host = uri-host [ \":\" port ]");
const EMPTY: Rule = Rule(
    "RFC 9112, section 3.3",
    "If the request's target URI's authority component is empty and its URI scheme requires a non-empty authority (as \
     is the case for \"http\" and \"https\"), the server can reject the request",
);
const OLD: Rule = Rule(
    "RFC 9112, section 3.2",
    "A client MUST send a Host header field (Section 7.2 of [HTTP]) in all HTTP/1.1 request messages.",
);

const VALUES: &[&str] = &[
    "a",
    "A",
    "a.b",
    "a.",
    "127.0.0.1",
    "a:80",
    "a:",
    "a:0",
    "a:65535",
    "a:00080",
    "a_b",
    "a-b",
    "-a",
    "~a",
    "%61",
    "[::1]",
    "[::1]:80",
    "[::1]:",
    "[::ffff:1.2.3.4]",
    "999.1.1.1",
    " \t a \t ",
    "xn--bcher-kva.example",
];

const INVALID_VALUES: &[&[u8]] = &[
    b"a b",
    b"a\tb",
    b"a/b",
    b"/",
    b"a/",
    b"http://a",
    b"x@a",
    b"x:y@a",
    b"@a",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"a,b",
    b"a, b",
    b",",
    b"a:b",
    b"a:80x",
    b"a:-1",
    b"a:+80",
    b"a: 80",
    b"a :80",
    b"a:80:80",
    b":80",
    b"a:65536",
    b"a:99999999999999999999",
    b"[::1",
    b"::1",
    b"[::1]x",
    b"[::1]80",
    b"[::1]:x",
    b"[::1]:65536",
    b"[]",
    b"[a]",
    b"[1.2.3.4]",
    b"[:::1]",
    b"[::1%25lo]",
    b"[::g]",
    b"a[b]",
    b"a]",
    b"%",
    b"%6",
    b"%zz",
    b"\xc3\xa4",
    b"\xff",
    b"a\x00",
    b"a\x7f",
    b"\"a\"",
    b"<a>",
    b"a|b",
    b"{a}",
    b"a^b",
    b"`a`",
];

pub fn probes() -> Vec<Probe> {
    let with = |version: &str, lines: &[u8]| {
        [b"POST /inc HTTP/", version.as_bytes(), b"\r\n", lines, b"\r\n"].concat()
    };
    let line = |value: &[u8]| [b"Host: ", value, b"\r\n"].concat();
    let valid =
        VALUES.iter().map(|value| probe(with("1.1", &line(value.as_bytes())), COUNTED, VALID));
    let invalid = INVALID_VALUES.iter().flat_map(|value| {
        ["1.1", "1.0"].map(|version| probe(with(version, &line(value)), MALFORMED, INVALID))
    });
    let others = [
        probe(with("1.1", b""), MALFORMED, INVALID),
        probe(with("1.1", b"Host\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Host:\r\n"), MALFORMED, EMPTY),
        probe(with("1.1", b"Host: \t \r\n"), MALFORMED, EMPTY),
        probe(with("1.0", b"Host:\r\n"), MALFORMED, EMPTY),
        probe(with("1.1", b"Host: a\r\nHost: a\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Host: a\r\nHost: b\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Host: a\r\nX: y\r\nhOST:b\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Host: a\r\nHost:\r\n"), MALFORMED, INVALID),
        probe(with("1.0", b"Host: a\r\nHost: a\r\n"), MALFORMED, INVALID),
        probe(with("1.0", b"Host: a\r\nHost: b\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Host: a\r\n b\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"Hos: a\r\n"), MALFORMED, INVALID),
        probe(with("1.1", b"HOST:a\r\n"), COUNTED, VALID),
        probe(with("1.0", b""), COUNTED_LAST, OLD),
        probe(with("1.0", b"Host: a\r\n"), COUNTED_LAST, VALID),
    ];
    valid.chain(invalid).chain(others).collect()
}
