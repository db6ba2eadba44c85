//! Child processes that cannot outlive the process that started them.
//!
//! A small shell script (`leash.sh`) starts the command and watches a pipe whose other end this process holds. The
//! kernel closes that end however this process ends, a crash or `kill -9` included; the script then stops the command,
//! waits for it and removes its scratch directory. Nothing is polled and no process id is remembered, so none can be
//! reused by somebody else. Unix only, like everything that starts a PostgreSQL server here.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

const SCRIPT: &str = include_str!("leash.sh");

/// How long a process may need after the grace period to be killed and cleaned up after.
const CLEAN_UP_TIME: Duration = Duration::from_secs(5);

/// What happens to a leashed process when it is let go.
#[derive(Debug, Clone)]
pub struct Leash {
    /// The signal that asks it to stop, by its name without `SIG`.
    pub signal: &'static str,
    /// How long it may take to stop before it is killed.
    pub grace: Duration,
    /// A directory that is removed once it has stopped.
    pub scratch: Option<PathBuf>,
}

impl Leash {
    /// A leash that stops with SIGTERM and removes nothing.
    #[must_use]
    pub fn terminating(grace: Duration) -> Self {
        Self {
            signal: "TERM",
            grace,
            scratch: None,
        }
    }

    /// The command that runs `program` on this leash. Arguments, environment, user and output are the caller's to
    /// add, as with any command, before it goes to [`LeashedProcess::spawn`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "leash", self.signal])
            .arg(self.grace.as_secs().to_string())
            .arg(self.scratch.as_deref().map_or(OsStr::new(""), |path| path.as_os_str()))
            .arg(program);
        command
    }
}

/// A running process on a leash. Dropping it stops the process and waits for its end.
#[derive(Debug)]
pub struct LeashedProcess {
    name: String,
    child: Child,
    rope: Option<ChildStdin>,
    grace: Duration,
}

impl LeashedProcess {
    /// Starts a command made by [`Leash::command`].
    ///
    /// The process gets its own process group: Ctrl-C in a terminal reaches its owner alone, which can then stop
    /// several processes in order.
    pub fn spawn(name: impl Into<String>, mut command: Command, leash: &Leash) -> anyhow::Result<Self> {
        let name = name.into();
        let mut child = command
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let rope = child.stdin.take();
        Ok(Self {
            name,
            child,
            rope,
            grace: leash.grace,
        })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the leash. SIGTERM, SIGINT or SIGHUP sent to it reach the process as the signal of the leash, each time
    /// again; its exit status becomes the process's own.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if the process has ended by itself.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("ask whether {} still runs", self.name))
    }

    /// Waits for a process that ends by itself. Blocks.
    pub fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child.wait().with_context(|| format!("wait for {}", self.name))
    }

    /// Stops the process and returns when it is gone, without blocking the runtime meanwhile.
    pub async fn stop(self) {
        // The only failure is a panic inside drop, which has been reported by then.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for LeashedProcess {
    fn drop(&mut self) {
        drop(self.rope.take());
        let deadline = Instant::now() + self.grace + CLEAN_UP_TIME;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // The script itself hangs. Its child has been killed by now, or cannot be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
