//! A real server to share budgets in.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a test waits for what must come.
const ENOUGH: Duration = Duration::from_secs(60);
/// Its socket, in its folder.
pub(super) const SOCKET: &str = "store";

/// A server, until it is dropped.
pub(super) struct Server(Child);

impl Server {
    /// In a folder of its own, which outlives it.
    pub(super) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let process = ["valkey-server", "redis-server"].into_iter().find_map(|program| {
            Command::new(program)
                .args(["--port", "0", "--unixsocket", SOCKET, "--save", "", "--appendonly", "no"])
                .args(arguments)
                .current_dir(folder)
                .stdout(Stdio::null())
                .spawn()
                .ok()
        });
        let Some(process) = process else {
            panic!("no valkey-server or redis-server: scripts/setup installs one")
        };
        let server = Self(process);
        wait_for(|| std::os::unix::net::UnixStream::connect(folder.join(SOCKET)).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Waits until something is so; it must become so.
pub(super) fn wait_for(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + ENOUGH;
    while !is_so() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
