//! The baseline: PostgreSQL's own load generator, written in C.

use std::{fs, path::Path, process::Command, thread, time::Duration};

/// As `plugins/postgresql-inplace-update` does it.
pub const INPLACE_UPDATE: &str = "\\set delta 1
UPDATE user_counter SET counter = counter + :delta, version = version + 1 \
WHERE user_id = '1' RETURNING counter;
";

/// As `plugins/postgresql-row-level-locking` does it.
pub const ROW_LEVEL_LOCKING: &str = "BEGIN ISOLATION LEVEL READ COMMITTED;
SELECT counter FROM user_counter WHERE user_id = '1' FOR UPDATE \\gset
\\set sum :counter + 1
UPDATE user_counter SET counter = :sum, version = version + 1 WHERE user_id = '1';
COMMIT;
";

/// The default of `--postgres-db`.
const DATABASE: &str = "counter_db";

/// Transactions per second.
pub fn run(script: &str, clients: usize, time: Duration, scratch: &Path) -> f64 {
    let file = scratch.join("script.sql");
    fs::write(&file, script).expect("a scratch directory can be written");
    let threads = thread::available_parallelism().map_or(1, usize::from).min(clients);
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared"])
        .arg(format!("--client={clients}"))
        .arg(format!("--jobs={threads}"))
        .arg(format!("--time={}", time.as_secs()))
        .arg("--file")
        .arg(&file)
        .arg(DATABASE)
        .output()
        .expect("compose/with-postgresql brings pgbench");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate =
        text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("{output:?}"))
}
