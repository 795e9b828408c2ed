//! Configuration files of any content: settings, or one sentence that says what is wrong.

use std::{ffi::OsString, fs};

use clap::CommandFactory;
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Cli, CliError};

/// Serves with the file of this content; returns why not.
fn refusal(content: &[u8]) -> Result<Option<String>, TestCaseError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let args = [OsString::from("tally"), "--config".into(), file.path().into()];
    match Cli::load(&args) {
        Ok(_) => Ok(None),
        Err(CliError::Usage(error)) => {
            let message = error.to_string();
            prop_assert!(!message.is_empty() && message.lines().count() <= 1, "{message:?}");
            Ok(Some(message))
        }
        Err(CliError::Information(text)) => {
            Err(TestCaseError::fail(format!("it was taken for a question: {text}")))
        }
    }
}

/// All settings, and names of none.
fn name() -> impl Strategy<Value = String> {
    let command = Cli::command();
    let names: Vec<String> =
        command.get_arguments().filter_map(|arg| arg.get_long().map(String::from)).collect();
    prop_oneof![8 => select(names), 1 => "[a-z-]{0,9}"]
}

fn value() -> impl Strategy<Value = String> {
    let scalar = || {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            (0..2_000_u16).prop_map(|number| number.to_string()),
            "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
            "[a-z=+.:/,-]{0,12}".prop_map(|text| format!("'{text}'")),
            select(&["on", "off", "text", "carry", "x=log", "a.b=c", "a:5701"][..])
                .prop_map(|text| format!("\"{text}\"")),
            select(&["true", "1.5", "1979-05-27", "{}", "[[]]", ""][..]).prop_map(String::from),
        ]
    };
    prop_oneof![
        6 => scalar(),
        1 => vec(scalar(), 0..4).prop_map(|values| format!("[{}]", values.join(","))),
    ]
}

proptest! {
    #[test]
    fn a_file_of_settings_is_taken_or_refused_in_one_sentence(entries in vec((name(), value()), 0..4)) {
        let lines: Vec<String> = entries.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        refusal(lines.join("\n").as_bytes())?;
    }

    #[test]
    fn a_file_of_any_content_is_taken_or_refused_in_one_sentence(
        content in prop_oneof![vec(any::<u8>(), 0..60), "[a-z=\"'\\[\\]{}.#\n 0-9-]{0,60}".prop_map(String::into_bytes)]
    ) {
        refusal(&content)?;
    }
}
