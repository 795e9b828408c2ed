//! Where a key's file is, relative to the granted directory, and which key's file a path is.

use alloc::{format, string::String, vec::Vec};

use tally_plugin::DEFAULT_KEY;

/// The longest part of a path between two slashes that leaves room for an ending;
/// file systems allow 255 bytes.
const SEGMENT_BYTES: usize = 200;

/// The longest key.
const KEY_BYTES_MAX: usize = 256;

/// The path of the file that holds `key`, when the default counter is in `file`.
///
/// The other counters are in the folder `{file}.keys`. Their names are percent-encoded but for
/// letters, digits, `_` and `-`, and cut into folders where a file name would become too long.
/// Only the last part has the ending `.txt`, so no key's file is in the way of another's folder.
pub fn of_key(file: &str, key: &str) -> String {
    if key == DEFAULT_KEY {
        return file.into();
    }
    let mut path = keys_folder(file);
    for (idx, byte) in encode(key).bytes().enumerate() {
        if idx % SEGMENT_BYTES == 0 {
            path.push('/');
        }
        path.push(char::from(byte));
    }
    path.push_str(".txt");
    path
}

/// The key whose file is at `path`; none where no key's file would be, as of a temporary file.
pub fn to_key(file: &str, path: &str) -> Option<String> {
    if path == file {
        return Some(DEFAULT_KEY.into());
    }
    let encoded = path.strip_prefix(&keys_folder(file))?.strip_suffix(".txt")?.replace('/', "");
    let key = decode(&encoded).filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()))?;
    // Whatever else was put there by somebody is not where the key's file is.
    (of_key(file, &key) == path).then_some(key)
}

/// The folder in which the files of all keys but the default one are.
pub fn keys_folder(file: &str) -> String {
    format!("{file}.keys")
}

/// Whether there can be files of keys in a folder of this name within the keys' folder.
pub fn is_keys_segment(name: &str) -> bool {
    name.len() == SEGMENT_BYTES
}

fn encode(key: &str) -> String {
    let mut encoded = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The key that became `encoded`; perhaps one for other texts, and none where the text is of no key.
fn decode(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('%');
    let mut key = Vec::from(parts.next()?);
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        key.push(u8::from_str_radix(code, 16).ok()?);
        key.extend(rest.bytes());
    }
    String::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_become_readable_paths() {
        for (key, path) in [
            ("count", "count.txt"),
            ("user-7", "count.txt.keys/user-7.txt"),
            ("a/b", "count.txt.keys/a%2Fb.txt"),
            ("..", "count.txt.keys/%2E%2E.txt"),
            ("é", "count.txt.keys/%C3%A9.txt"),
        ] {
            assert_eq!(of_key("count.txt", key), path);
            assert_eq!(to_key("count.txt", path).as_deref(), Some(key));
        }
    }

    #[test]
    fn what_is_no_file_of_a_key_has_none() {
        let long = "k".repeat(SEGMENT_BYTES);
        for path in [
            "",
            "other.txt",
            "count.txt.tmp",
            "count.txt.keys",
            "count.txt.keys/.txt",
            "count.txt.keys/a.txt.tmp",
            "count.txt.keys/a",
            "count.txt.keysa.txt",
            "count.txt.keys//a.txt",
            "count.txt.keys/a/b.txt",
            "count.txt.keys/count.txt",
            "count.txt.keys/a b.txt",
            "count.txt.keys/%61.txt",
            "count.txt.keys/%c3%a9.txt",
            "count.txt.keys/%+1.txt",
            "count.txt.keys/%2.txt",
            "count.txt.keys/%FF.txt",
            "count.txt.keys/%é.txt",
            &format!("count.txt.keys/{long}k.txt"),
            &format!("count.txt.keys/{long}/.txt"),
            &format!("count.txt.keys/{long}/{}.txt", "k".repeat(57)),
        ] {
            assert_eq!(to_key("count.txt", path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_path_leads_back_to_its_key(key in "(?s).{1,64}|[a-c/%]{1,256}") {
            let path = of_key("f.x", &key);
            prop_assert_eq!(to_key("f.x", &path), Some(key));
            let folders = path.strip_prefix("f.x.keys/").and_then(|rest| rest.rsplit_once('/'));
            prop_assert!(folders.is_none_or(|(folders, _)| folders.split('/').all(is_keys_segment)));
        }

        #[test]
        fn no_path_has_the_key_of_another(path in "[/%.0-9A-Fa-f]{0,20}|.*") {
            let path = format!("f.keys/{path}");
            if let Some(key) = to_key("f", &path) {
                prop_assert_eq!(of_key("f", &key), path);
            }
        }

        #[test]
        fn every_key_has_a_path_of_its_own_that_file_systems_allow(
            key in "(?s).{1,64}|[a-c/%]{1,256}",
            other in "(?s).{1,64}|[a-c/%]{1,256}",
        ) {
            let path = of_key("f", &key);
            prop_assert!(path.split('/').all(|part| part.len() <= 255 && part != ".." && !part.is_empty()));
            prop_assert_eq!(path == of_key("f", &other), key == other);
        }
    }
}
