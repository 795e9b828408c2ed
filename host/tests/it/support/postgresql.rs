//! The PostgreSQL that `compose/with-postgresql` starts, and others of a test's own.

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Sandbox, Tally, ask, service::Service, wait_until};

/// The variables by which a server is found, and by which its own programs find it.
const VARIABLES: [&str; 9] = [
    "DB_HOST",
    "DB_PORT",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "PGHOST",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PATH",
];

/// How long a connection may take to come, a statement on a machine that others use, and a call that is held on purpose,
/// unless the flags of a test say otherwise.
const PATIENT: [(&str, &str); 3] = [
    ("DB_CHECKOUT_WAIT_MAX", "20000"),
    ("DB_STATEMENT_TIME_MAX", "20000"),
    ("CALL_TIME_MAX", "60000"),
];

/// A database of one test's own, on a server that others may use too. Dropped at the end.
pub struct Database {
    name: String,
    variables: HashMap<String, String>,
}

impl Database {
    /// On the server that the environment names. It is not there until somebody creates it.
    pub fn new() -> Self {
        Self::on(
            VARIABLES
                .into_iter()
                .filter_map(|name| Some((name.into(), env::var(name).ok()?)))
                .collect(),
        )
    }

    fn on(variables: HashMap<String, String>) -> Self {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        assert!(
            variables.contains_key("DB_PORT"),
            "this test needs PostgreSQL: run it by compose/with-postgresql cargo test"
        );
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("test_{}_{number}", std::process::id()), variables }
    }

    /// Starts a host on this database and waits until it is ready.
    pub fn start(&self, sandbox: &Sandbox, args: &[&str]) -> Tally {
        let tally = self.start_unready(sandbox, args);
        wait_until("the host is ready", || ask(tally.address(), "GET /readyz").status == 200);
        tally
    }

    /// Starts a host on this database.
    pub fn start_unready(&self, sandbox: &Sandbox, args: &[&str]) -> Tally {
        let mut command = sandbox.command(args);
        command.envs(&self.variables).env("POSTGRES_DB", &self.name).envs(PATIENT);
        sandbox.start_command(command)
    }

    /// The flags by which it is found, and what [`Self::start`] sets beside them.
    pub fn flags(&self) -> Vec<String> {
        let flags = [
            ("--db-host", "DB_HOST"),
            ("--db-port", "DB_PORT"),
            ("--postgres-user", "POSTGRES_USER"),
            ("--postgres-password", "POSTGRES_PASSWORD"),
        ];
        let mut flags: Vec<_> = flags
            .iter()
            .map(|(flag, variable)| format!("{flag}={}", self.variables[*variable]))
            .collect();
        flags.push(format!("--postgres-db={}", self.name));
        flags.extend(
            PATIENT.map(|(variable, ms)| {
                format!("--{}={ms}", variable.to_lowercase().replace('_', "-"))
            }),
        );
        flags
    }

    /// Runs statements in psql, one transaction each, and returns what they print.
    pub fn psql(&self, statements: &str) -> String {
        let output = self.psql_in(&self.name).args(["--command", statements]).output().unwrap();
        assert!(output.status.success(), "{statements}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// How many sessions the server has in this database for which `condition` holds.
    pub fn sessions(&self, condition: &str) -> u32 {
        self.psql(&sessions(condition)).parse().unwrap()
    }

    /// A connection of its own.
    pub fn session(&self) -> Session {
        let mut shell = self.shell().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let statements = shell.stdin.take().unwrap();
        let printed = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut session = Session { shell, statements, printed };
        assert_eq!(session.ask("SELECT 1"), "1");
        session
    }

    /// A psql that reads statements from its standard input.
    pub fn shell(&self) -> Command {
        self.psql_in(&self.name)
    }

    /// Locks the row of the default counter.
    pub fn hold_row(&self) -> RowHeld {
        self.hold_row_of("1")
    }

    /// Locks the row of the counter `key`.
    pub fn hold_row_of(&self, key: &str) -> RowHeld {
        let mut shell = self.shell().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let statements =
            format!("BEGIN; SELECT * FROM user_counter WHERE user_id = '{key}' FOR UPDATE;\n");
        shell.stdin.as_mut().unwrap().write_all(statements.as_bytes()).unwrap();
        wait_until("the shell has the row's lock", || {
            self.sessions("state = 'idle in transaction' AND query LIKE 'SELECT%'") == 1
        });
        RowHeld(shell)
    }

    /// Makes the database, for tests that do so before any host does.
    pub fn create(&self) {
        self.maintain(&format!("CREATE DATABASE {}", self.name));
    }

    fn maintain(&self, statement: &str) {
        let output = self.psql_in("postgres").args(["--command", statement]).output().unwrap();
        assert!(output.status.success(), "{statement}: {output:?}");
    }

    fn psql_in(&self, database: &str) -> Command {
        let mut psql = Command::new("psql");
        psql.envs(&self.variables).args([
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
            "--dbname",
            database,
        ]);
        psql
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A test that failed should say its own reason; and a cluster may be gone.
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = self.psql_in("postgres").args(["--command", &statement]).output();
    }
}

/// A shell that has locked a row, until it is dropped.
pub struct RowHeld(Child);

impl Drop for RowHeld {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection that is open already: what it is asked needs no program to start, and so little time.
pub struct Session {
    shell: Child,
    statements: ChildStdin,
    printed: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Runs a statement whose answer is one line.
    pub fn ask(&mut self, statement: &str) -> String {
        self.begin(statement);
        self.printed.next().expect("psql goes on").unwrap()
    }

    /// Sends statements, and does not wait for their end.
    pub fn begin(&mut self, statements: &str) {
        writeln!(self.statements, "{statements};").unwrap();
    }

    /// As [`Database::sessions`].
    pub fn sessions(&mut self, condition: &str) -> u32 {
        self.ask(&sessions(condition)).parse().unwrap()
    }

    /// Waits until all statements have succeeded.
    pub fn end(self) {
        let Self { mut shell, statements, .. } = self;
        drop(statements);
        assert!(shell.wait().unwrap().success());
    }
}

/// Counts the sessions in this database for which `condition` holds.
fn sessions(condition: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND {condition}"
    )
}

/// A server of one test's own, which it can stop and start.
pub struct Cluster(Service);

impl Cluster {
    pub fn start_new() -> Self {
        let wanted = VARIABLES.into_iter().chain(["POSTGRESQL_CTL"]).collect::<Vec<_>>();
        Self(Service::start("with-postgresql", &[], &wanted))
    }

    /// A database on this server.
    pub fn database(&self) -> Database {
        Database::on(self.0.variables.clone())
    }

    /// Stops the server as a crash does.
    pub fn stop(&self) {
        self.0.control("POSTGRESQL_CTL", &["stop", "-m", "immediate"]);
    }

    /// Starts the server again; it accepts connections when this returns.
    pub fn start(&self) {
        self.0.control("POSTGRESQL_CTL", &["start"]);
    }

    /// Makes the server offer TLS with a certificate for its address, and returns the path of that certificate.
    pub fn enable_tls(&self, database: &Database) -> String {
        // The server makes the files itself, since they must belong to its user.
        database.psql(
            "COPY (SELECT 1) TO PROGRAM 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.crt 2>/dev/null'",
        );
        database.psql("ALTER SYSTEM SET ssl = on");
        let directory = database.psql("SHOW data_directory");
        self.stop();
        self.start();
        format!("{directory}/server.crt")
    }
}
