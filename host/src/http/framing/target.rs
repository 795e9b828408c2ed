//! What a request is for.

use super::{Problem, host};

/// Refuses what is none of the four forms of a target (RFC 9112, section 3.2).
///
/// Percent-encoding is looked at where what it encodes is used.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(method: &[u8], target: &[u8]) -> Result<(), Problem> {
    if target.contains(&b'#') {
        return Err(Problem::malformed("the target has a fragment, which is never sent"));
    }
    if method == b"CONNECT" && is_host_with_port(target) {
        return Err(Problem::unknown_method());
    }
    let is_valid = match target {
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => false,
        [b'/', rest @ ..] => has_allowed_bytes(rest),
        _ => is_absolute(target),
    };
    if is_valid {
        Ok(())
    } else {
        Err(Problem::malformed("the target is a path, or http://HOST and a path"))
    }
}

/// What can be connected to, as here nothing is.
fn is_host_with_port(target: &[u8]) -> bool {
    let behind = target.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    let has_port = !behind.is_empty() && behind.iter().all(u8::is_ascii_digit);
    has_port && behind.len() < target.len() && host::is_valid(target)
}

/// `http://HOST[:PORT][/PATH][?QUERY]`. Who could be told apart from others by a name and password in it is nobody here
/// (RFC 9110, section 4.2.4), and what is asked for by TLS alone is not to be had without (section 7.4).
fn is_absolute(target: &[u8]) -> bool {
    let Some((scheme, rest)) = target.split_at_checked(b"http://".len()) else { return false };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // hyper takes no name that is encoded here.
    let is_encoded = authority.contains(&b'%');
    scheme.eq_ignore_ascii_case(b"http://")
        && host::is_valid(authority)
        && !is_encoded
        && has_allowed_bytes(rest)
}

/// Those of paths and queries (RFC 3986, sections 3.3 and 3.4).
fn has_allowed_bytes(text: &[u8]) -> bool {
    let is_mark = |byte: &u8| b"-._~!$&'()*+,;=:@/?%".contains(byte);
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}
