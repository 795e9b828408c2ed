//! Bodies, in chunks and as a whole.

use super::{COUNTED, Outcome, Probe, Rule, answered, inc, last, probe};

const GRAMMAR: Rule = Rule(
    "RFC 9112, section 7.1",
    "chunked-body = *chunk last-chunk trailer-section CRLF; chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF; \
     chunk-size = 1*HEXDIG; last-chunk = 1*(\"0\") [ chunk-ext ] CRLF",
);
const OVERFLOW: Rule = Rule(
    "RFC 9112, section 7.1",
    "Recipients MUST anticipate potentially large hexadecimal numerals and prevent parsing errors due to integer \
     conversion overflows or precision loss due to integer representation.",
);
const EXTENSIONS: Rule =
    Rule("RFC 9112, section 7.1.1", "A recipient MUST ignore unrecognized chunk extensions.");
const EXTENSIONS_SIZE: Rule = Rule(
    "RFC 9112, section 7.1.1",
    "A server ought to limit the total length of chunk extensions received in a request to an amount reasonable for the \
     services provided",
);
const TRAILERS: Rule = Rule(
    "RFC 9112, section 7.1.2",
    "A recipient that removes the chunked coding from a message MAY selectively retain or discard the received trailer \
     fields.",
);
const LINE_ENDS: Rule = Rule(
    "RFC 9112, section 2.2",
    "Although the line terminator for the start-line and fields is the sequence CRLF, a recipient MAY recognize a single \
     LF as a line terminator and ignore any preceding CR.",
);
const CONTENT: Rule = Rule(
    "RFC 9112, section 6.3",
    "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected \
     message body length in octets.",
);
const NO_CONTENT: Rule = Rule(
    "RFC 9112, section 6.3",
    "If this is a request message and none of the above are true, then the message body length is zero (no message body \
     is present).",
);
const TOO_LARGE: Rule = Rule(
    "RFC 9110, section 15.5.14",
    "The 413 (Content Too Large) status code indicates that the server is refusing to process a request because the \
     request content is larger than the server is willing or able to process.",
);
const CONTINUE: Rule = Rule(
    "RFC 9110, section 10.1.1",
    "A server that responds with a final status code instead of reading the entire request content SHOULD indicate \
     whether it intends to close the connection",
);

const BROKEN: Outcome = last(&[400], 0);

const CHUNKS: &[(&[u8], Outcome, Rule)] = &[
    (b"0\r\n\r\n", COUNTED, GRAMMAR),
    (b"2\r\n{}\r\n0\r\n\r\n", COUNTED, GRAMMAR),
    (b"1\r\n{\r\n01\r\n}\r\n000\r\n\r\n", COUNTED, GRAMMAR),
    (b"a\r\n{        }\r\n0\r\n\r\n", COUNTED, GRAMMAR),
    (b"A\r\n{        }\r\n0\r\n\r\n", COUNTED, GRAMMAR),
    (b"2;x\r\n{}\r\n0;y=\"z\"\r\n\r\n", COUNTED, EXTENSIONS),
    (b"2 ; x = y\r\n{}\r\n0\r\n\r\n", COUNTED, EXTENSIONS),
    (b"2\r\n{}\r\n0\r\nX: y\r\nHost: b\r\n\r\n", COUNTED, TRAILERS),
    (b"2\r\n{}\r\n0\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n", COUNTED, TRAILERS),
    (b"\r\n", BROKEN, GRAMMAR),
    (b"x\r\n", BROKEN, GRAMMAR),
    (b"-2\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"+2\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b" 2\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"0x2\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2h\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2.0\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2_0\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b";x\r\n\r\n", BROKEN, GRAMMAR),
    (b"2 2\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"1\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"3\r\n{}\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2\r\n{}0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2\r\n{}x\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2\r\n{}\r\n\r\n0\r\n\r\n", BROKEN, GRAMMAR),
    (b"2\r\n{}\r\n0\r\nX\r\n\r\n", BROKEN, GRAMMAR),
    (b"2\n{}\r\n0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2\r\n{}\n0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2\r\n{}\r\n0\n\r\n", BROKEN, LINE_ENDS),
    (b"2\r\n{}\r\n0\r\n\n", BROKEN, LINE_ENDS),
    (b"2\r{}\r\n0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2\r\n{}\r0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2;x\n{}\r\n0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2;x\ry\r\n{}\r\n0\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2;\x00\r\n{}\r\n0\r\n\r\n", BROKEN, EXTENSIONS),
    (b"2\r\n{}\r\n0\r\nX: y\nZ: z\r\n\r\n", BROKEN, LINE_ENDS),
    (b"2\r\n{}\r\n0\r\nX: \x00\r\n\r\n", BROKEN, LINE_ENDS),
    (b"10000000000000000\r\n", BROKEN, OVERFLOW),
    (b"ffffffffffffffffffffffffffffffff\r\n", BROKEN, OVERFLOW),
    (b"00000000000000000000000000000000000000002\r\n{}\r\n0\r\n\r\n", COUNTED, GRAMMAR),
];

const WHOLE: &[(&[u8], Outcome, Rule)] = &[
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", COUNTED, CONTENT),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 002\r\n\r\n{}", COUNTED, CONTENT),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{}",
        last(&[400, 400], 0),
        CONTENT,
    ),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{}",
        last(&[200, 400], 1),
        CONTENT,
    ),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\n\r\n{}", last(&[200, 400], 1), NO_CONTENT),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
        answered(&[400], 0),
        CONTENT,
    ),
    (
        b"GET /count HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
        answered(&[200], 0),
        CONTENT,
    ),
    (
        b"GET /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
        answered(&[400], 0),
        CONTENT,
    ),
    (
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
        answered(&[404], 0),
        CONTENT,
    ),
    (
        b"GET /inc HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
        answered(&[405], 0),
        CONTENT,
    ),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        COUNTED,
        CONTINUE,
    ),
    (b"POST /inc HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", COUNTED, CONTINUE),
    (
        b"POST /inc HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
        last(&[413], 0),
        CONTINUE,
    ),
    (
        b"POST /inc HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        last(&[200], 1),
        CONTINUE,
    ),
];

pub fn probes() -> Vec<Probe> {
    let chunked = |body: &[u8]| inc(b"Transfer-Encoding: chunked\r\n", body);
    let chunks = CHUNKS.iter().map(|(body, outcome, rule)| probe(chunked(body), *outcome, *rule));
    let whole = WHOLE.iter().map(|(sent, outcome, rule)| probe(*sent, *outcome, *rule));
    let blanks = |size: usize| format!("{size:x}\r\n{}\r\n0\r\n\r\n", " ".repeat(size));
    let extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailer = format!("0\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let large = [
        probe(chunked(blanks(4096).as_bytes()), answered(&[400], 0), TOO_LARGE),
        probe(chunked(blanks(4097).as_bytes()), last(&[413], 0), TOO_LARGE),
        probe(chunked(b"ffffffffffffffff\r\n"), BROKEN, OVERFLOW),
        probe(chunked(extension.as_bytes()), BROKEN, EXTENSIONS_SIZE),
        probe(chunked(trailer.as_bytes()), BROKEN, EXTENSIONS_SIZE),
    ];
    chunks.chain(whole).chain(large).collect()
}
