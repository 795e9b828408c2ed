use std::{fs, process::Child};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Sandbox, swap, wait_until};

#[test]
fn where_nobody_sits_at_a_terminal_each_line_is_an_object_with_the_fields_of_the_event() {
    for format in [Some("json"), None] {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(&[]);
        command.env_remove("LOG_FORMAT").envs(format.map(|format| ("LOG_FORMAT", format)));
        let tally = sandbox.start_command(command);
        assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
        assert_eq!(swap(&tally, "/nowhere/x.wasm").status, 404);
        wait_until("both are logged", || sandbox.stderr().contains("not swapped"));
        let lines: Vec<Value> = sandbox
            .stderr()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        for line in &lines {
            for field in ["timestamp", "level", "target", "message"] {
                assert!(line[field].is_string(), "no {field} in {line}");
            }
        }
        let swapped = lines.iter().find(|line| line["message"] == "swapped").unwrap();
        assert_eq!(swapped["level"], "INFO");
        assert_eq!(swapped["plugin"], "shared-memory-flock");
        assert_eq!(swapped["from"], "shared-memory-atomic");
        assert_eq!(swapped["generation"], 2);
        assert_eq!(swapped["trigger"], "api");
        assert!(swapped["carried_keys"].is_null() && swapped["left_in"].is_null(), "{swapped}");
        assert!(swapped["paused_us"].is_u64() && swapped["drained_us"].is_u64(), "{swapped}");
    }
}

#[test]
fn who_collects_both_outputs_as_one_reads_nothing_but_objects() {
    for (admin, filter) in [("127.0.0.1:0", "info"), ("off", "off")] {
        let sandbox = Sandbox::new();
        let path = sandbox.path().join("all");
        let all = fs::File::create(&path).unwrap();
        let mut command = sandbox.command(&["--admin-listen", admin]);
        command.env_remove("LOG_FORMAT").env("RUST_LOG", filter);
        let child = command.stdout(all.try_clone().unwrap()).stderr(all).spawn().unwrap();
        let mut host = EndedOnDrop(child);
        let lines = || fs::read_to_string(&path).unwrap();
        wait_until("it says where it serves", || lines().contains("serving"));
        kill_process(Pid::from_child(&host.0), Signal::TERM).unwrap();
        assert_eq!(host.0.wait().unwrap().code(), Some(0));
        let lines: Vec<Value> = lines()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect();
        let serving: Vec<_> = lines.iter().filter(|line| line["message"] == "serving").collect();
        assert_eq!(serving.len(), 1, "{lines:?}");
        assert_eq!(serving[0]["level"], "INFO");
        assert_eq!(serving[0]["plugin"], "shared-memory-atomic");
        assert!(serving[0]["address"].as_str().unwrap().starts_with("http://127.0.0.1:"));
        assert_eq!(serving[0]["admin"].is_string(), admin != "off", "{lines:?}");
        // Where it serves is said whatever the filter chooses, as it is to people.
        assert_eq!(lines.len() == 1, filter == "off", "{lines:?}");
    }
}

struct EndedOnDrop(Child);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_filter_chooses_the_lines_in_either_format() {
    for format in ["json", "text"] {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command(&["--log-format", format]);
        command.env("RUST_LOG", "warn");
        let tally = sandbox.start_command(command);
        assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
        assert_eq!(swap(&tally, "/nowhere/x.wasm").status, 404);
        wait_until("the failure is logged", || sandbox.stderr().contains("not swapped"));
        let log = sandbox.stderr();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert_eq!(log.starts_with('{'), format == "json", "{log}");
    }
}

#[test]
fn commands_speak_plainly_whatever_the_format_of_the_log() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["swap", "disk-flock", "--admin", "http://127.0.0.1:1"]);
    let output = command.env("LOG_FORMAT", "json").output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.starts_with("tally: nothing answers"), "{message}");
}
