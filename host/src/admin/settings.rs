//! Where the admin listener is, and who may use it.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser},
};

/// The second listener, for those who operate the host.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Admin listener")]
pub struct AdminSettings {
    /// Where to listen for the dashboard, metrics and swaps: ADDRESS:PORT, unix:PATH, or off.
    ///
    /// An address that is not of the loopback needs --admin-token-file.
    #[arg(long, env, value_name = "WHERE", default_value = "127.0.0.1:8081", value_parser = NonEmptyStringValueParser::new())]
    pub admin_listen: String,

    /// File with the token, of at least 16 characters, that admin requests must bring as
    /// `Authorization: Bearer TOKEN`.
    #[arg(long, env, global = true, value_name = "FILE", default_value = "", hide_default_value = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub admin_token_file: PathBuf,

    /// Host names by which the admin listener may be addressed, beside localhost and its addresses.
    #[arg(long, env, value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Vec<String>,
}
