//! Where the admin listener is, and who may use it.

use std::{net::IpAddr, path::PathBuf};

use anyhow::Context;
use clap::{
    Args,
    builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser},
};

use crate::{
    client::{Endpoint, Token},
    error::UsageError,
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
    #[arg(long, env, value_name = "FILE", default_value = "", hide_default_value = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub admin_token_file: PathBuf,

    /// Host names by which the admin listener may be addressed, beside localhost and its addresses.
    #[arg(long, env, value_name = "NAME", value_delimiter = ',')]
    pub admin_host: Vec<String>,
}

impl AdminSettings {
    /// The token; none where there is no file.
    ///
    /// # Errors
    ///
    /// When the file can't be read, or holds what can't be a token.
    pub fn token(&self) -> anyhow::Result<Option<Token>> {
        Token::read_if_given(&self.admin_token_file).context("--admin-token-file")
    }

    /// Where a program on the host's machine finds the admin listener.
    ///
    /// # Errors
    ///
    /// When there is none, or the settings do not say where.
    pub fn endpoint(&self) -> Result<Endpoint, UsageError> {
        let listen = self.admin_listen.as_str();
        let refused = |why: &str| Err(UsageError(format!("--admin-listen is \"{listen}\", {why}")));
        if listen == "off" {
            return refused(
                "so the host can't be asked: set it to an address, for the host as well",
            );
        }
        if listen.starts_with("unix:") {
            return Endpoint::parse(listen).map_err(UsageError);
        }
        let Some((host, port)) = listen.rsplit_once(':') else {
            return refused("which is no address: write ADDRESS:PORT, unix:PATH, or off");
        };
        if port == "0" {
            return refused(
                "so the host took a free port: set --admin to the address that it told when it started",
            );
        }
        let parsed = Endpoint::parse(&format!("http://{}:{port}", reachable(host)));
        parsed.or_else(|_| refused("which is no address: write ADDRESS:PORT, unix:PATH, or off"))
    }
}

/// The address, as in a URL, at which a program on the same machine reaches what listens on `host`: what listens on all
/// addresses answers on the loopback.
pub fn reachable(host: &str) -> String {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() && address.is_ipv6() => "[::1]".to_owned(),
        Ok(address) if address.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}
