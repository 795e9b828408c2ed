//! Names and addresses of hosts, as in `host` headers and targets.

use std::net::Ipv6Addr;

use crate::http::input::is_percent_encoded;

/// Whether `value` is `HOST` or `HOST:PORT` (RFC 9110, section 7.2; RFC 3986, section 3.2).
///
/// A name has at least one character, and no comma: that would be what is left of two headers.
pub fn is_valid(value: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(value) else { return false };
    if let Some(literal) = text.strip_prefix('[') {
        return literal.split_once(']').is_some_and(|(address, rest)| {
            let port = rest.strip_prefix(':');
            address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || port.is_some_and(is_port))
        });
    }
    match text.split_once(':') {
        Some((name, port)) => is_name(name) && is_port(port),
        None => is_name(text),
    }
}

/// It may be empty, which stands for that of the scheme.
fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.is_empty() || text.parse::<u16>().is_ok())
}

fn is_name(text: &str) -> bool {
    let is_mark = |byte: &u8| b"-._~!$&'()*+;=%".contains(byte);
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(&byte))
        && is_percent_encoded(text)
}
