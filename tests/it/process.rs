//! The program as a process.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;

use crate::support::ALL_OUTPUT;

/// The program, with nothing of our environment that could steer it.
pub(crate) fn sluice(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.current_dir(folder).env_clear().stdin(Stdio::null());
    if let Some(filter) = std::env::var_os(ALL_OUTPUT) {
        command.env("SLUICE_LOG", filter);
    }
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    sluice(folder).args(arguments).output().unwrap()
}

/// A running server; killed when dropped, so that a failing test leaves nothing behind.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) base: String,
    lines: BufReader<ChildStdout>,
    /// Reads what it logs, all the time: a full pipe would stop it.
    logs: Option<JoinHandle<String>>,
}

impl Server {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let logs = std::thread::spawn(move || {
            let mut logs = String::new();
            stderr.read_to_string(&mut logs).unwrap();
            if std::env::var_os(ALL_OUTPUT).is_some() {
                std::io::Write::write_all(&mut std::io::stderr(), logs.as_bytes()).unwrap();
            }
            logs
        });
        let mut server = Self { child, base: String::new(), lines, logs: Some(logs) };
        let line = server.next_line();
        let base = line.trim().strip_prefix("listening on ").map(str::to_owned);
        match base {
            Some(base) => server.base = base,
            None => {
                let _ = server.child.kill();
                panic!("it did not start: {line}{}", server.logs());
            }
        }
        server
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// All that it logged. For after its end.
    pub(crate) fn logs(&mut self) -> String {
        self.logs.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
