//! What this process is doing now.
//!
//! Its own numbers are kept here, since a gauge that nobody sets for a while is gone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::metrics::gauge;

use super::number;

static CONSOLES: AtomicU64 = AtomicU64::new(0);
static TASKS: Mutex<BTreeMap<&'static str, Tasks>> = Mutex::new(BTreeMap::new());

/// A console that this process relays, until it is dropped.
#[derive(Debug)]
pub struct OpenConsole(());

impl OpenConsole {
    /// One more.
    pub fn begin() -> Self {
        CONSOLES.fetch_add(1, Ordering::Relaxed);
        show_consoles();
        Self(())
    }
}

impl Drop for OpenConsole {
    fn drop(&mut self) {
        CONSOLES.fetch_sub(1, Ordering::Relaxed);
        show_consoles();
    }
}

fn show_consoles() {
    gauge!("console_sessions_active").set(number(CONSOLES.load(Ordering::Relaxed)));
}

/// The supervised tasks of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tasks {
    running: u64,
    restarting: u64,
    panicked: u64,
}

/// A supervised task, until it is dropped.
#[derive(Debug)]
pub struct PoolTask {
    name: &'static str,
    is_running: bool,
}

impl PoolTask {
    /// The task runs.
    pub fn begin(name: &'static str) -> Self {
        change(name, |tasks| tasks.running += 1);
        Self { name, is_running: true }
    }

    /// The task runs again.
    pub fn restarted(&mut self) {
        self.turn(true);
    }

    /// The task has ended and will run again after a pause.
    pub fn rests(&mut self) {
        self.turn(false);
    }

    /// The task panicked.
    pub fn panicked(&self) {
        change(self.name, |tasks| tasks.panicked += 1);
    }

    fn turn(&mut self, running: bool) {
        if self.is_running == running {
            return;
        }
        self.is_running = running;
        change(self.name, |tasks| {
            if running {
                tasks.restarting = tasks.restarting.saturating_sub(1);
                tasks.running += 1;
            } else {
                tasks.running = tasks.running.saturating_sub(1);
                tasks.restarting += 1;
            }
        });
    }
}

impl Drop for PoolTask {
    fn drop(&mut self) {
        let is_running = self.is_running;
        change(self.name, |tasks| {
            let left = if is_running {
                &mut tasks.running
            } else {
                &mut tasks.restarting
            };
            *left = left.saturating_sub(1);
        });
    }
}

fn change(name: &'static str, change: impl FnOnce(&mut Tasks)) {
    let mut all = tasks();
    let tasks = all.entry(name).or_default();
    change(tasks);
    show_tasks(name, *tasks);
}

fn tasks() -> MutexGuard<'static, BTreeMap<&'static str, Tasks>> {
    TASKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show_tasks(pool: &'static str, tasks: Tasks) {
    let states = [
        ("running", tasks.running),
        ("restarting", tasks.restarting),
        ("panicked", tasks.panicked),
    ];
    for (state, count) in states {
        gauge!("pool_tasks", "pool" => pool, "state" => state).set(number(count));
    }
}

/// Sets every gauge of this module again.
pub fn show_process() {
    show_consoles();
    for (name, tasks) in tasks().iter() {
        show_tasks(name, *tasks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> (u64, u64, u64) {
        let found = tasks().get(name).copied().unwrap_or_default();
        (found.running, found.restarting, found.panicked)
    }

    #[test]
    fn a_task_is_in_one_state_at_a_time_and_its_panics_stay() {
        let name = "a task of a test";
        let mut task = PoolTask::begin(name);
        let other = PoolTask::begin(name);
        assert_eq!(of(name), (2, 0, 0));
        task.panicked();
        task.rests();
        task.rests();
        assert_eq!(of(name), (1, 1, 1));
        task.restarted();
        assert_eq!(of(name), (2, 0, 1));
        drop(other);
        task.rests();
        drop(task);
        assert_eq!(of(name), (0, 0, 1));
    }
}
