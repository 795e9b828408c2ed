//! The keys of counters.

/// The key of the default counter, the one behind `POST /inc`.
pub const DEFAULT_KEY: &str = "count";

/// The key of the counter that a plugin is tried on before it serves. It is listed and carried nowhere.
pub const SCRATCH_KEY: &str = "tally-probe";

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 256;

/// Checks that `key` can be that of a counter.
///
/// # Errors
///
/// One sentence, when it is empty or longer than [`KEY_BYTES_MAX`].
pub fn check(key: &str) -> Result<(), String> {
    if key.is_empty() || KEY_BYTES_MAX < key.len() {
        return Err(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes, but this one has {}",
            key.len()
        ));
    }
    Ok(())
}
