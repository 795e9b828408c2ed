//! On what machine a run was made: a figure without it cannot be compared.

use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;

/// The machine that the load client ran on. What the system does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub cpu: Option<String>,
    /// Cores this process may use.
    pub cores: Option<usize>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Release of the operating system's kernel.
    pub kernel: Option<String>,
}

impl Machine {
    /// Asks the system.
    pub fn here() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib = field(&meminfo, "MemTotal")
            .and_then(|it| it.trim_end_matches(" kB").parse::<u64>().ok());
        Machine {
            cpu: field(&cpuinfo, "model name").map(str::to_owned),
            cores: available_parallelism().ok().map(|it| it.get()),
            memory_bytes: memory_kib.and_then(|it| it.checked_mul(1024)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|it| it.trim().to_owned()),
        }
    }
}

/// The first `name : value` in a file of /proc.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 6\nmodel name\t: Fast CPU @ 3:1\nMemTotal:       16384 kB\n";
        assert_eq!(field(text, "model name"), Some("Fast CPU @ 3:1"));
        assert_eq!(field(text, "MemTotal"), Some("16384 kB"));
        assert_eq!(field(text, "absent"), None);
    }
}
