//! A service of one test's own, started by one of the scripts `compose/with-*`.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// The service; it ends when this is dropped.
pub struct Service {
    /// The script that started it; it ends the service when its standard input is closed.
    script: Child,
    /// By which others find the service.
    pub variables: HashMap<String, String>,
}

impl Service {
    /// Runs `compose/{script}` with `options` in its environment, and takes over those of its variables that are `wanted`.
    pub fn start(script: &str, options: &[(&str, &str)], wanted: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose").join(script);
        let mut child = Command::new(path)
            .args(["sh", "-c", "env; echo; cat"])
            .envs(options.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let variables: HashMap<_, _> = lines
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| {
                let (name, value) = line.split_once('=')?;
                wanted.contains(&name).then(|| (name.to_owned(), value.to_owned()))
            })
            .collect();
        assert_eq!(variables.len(), wanted.len(), "compose/{script} did not start the service");
        Self { script: child, variables }
    }

    /// Runs the service's own program, which `variable` names.
    pub fn control(&self, variable: &str, args: &[&str]) {
        let status = Command::new(&self.variables[variable]).args(args).status().unwrap();
        assert!(status.success(), "{variable} {args:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
