//! What another program adds to the product without changing it: a sender of notifications, and loops of its own.
//!
//! Such a program is a composition root beside ours (`src/main.rs`): it constructs its adapters by hand and gives them
//! to [`main_with`](crate::main_with), which runs the commands of the product with them. There is no registry and
//! nothing is found by name; what is not given is what the product ships. `examples/notification-sender` is one.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use shepherd_notify::InboxSender;
use shepherd_ports::notifications::NotificationSender;
use shepherd_usecases::Platform;

use crate::tasks::TaskPool;

type Run = Arc<dyn Fn(Arc<Platform>) -> BoxFuture<'static, ()> + Send + Sync>;

/// A loop of another program, with the name that logs and metrics know it by.
struct Controller {
    name: &'static str,
    run: Run,
}

/// What is added to the product.
#[derive(Default)]
pub struct Extensions {
    notifications: Option<Arc<dyn NotificationSender>>,
    controllers: Vec<Controller>,
}

impl Extensions {
    /// Sends notifications by this sender instead of the inbox.
    ///
    /// It is called inside the transaction of the change that a notification tells about, so it must not wait for
    /// anything but that transaction; what leaves the platform is sent by a [controller](Self::controller).
    #[must_use]
    pub fn notifications(mut self, sender: Arc<dyn NotificationSender>) -> Self {
        self.notifications = Some(sender);
        self
    }

    /// Runs a loop in every process that has the role `controllers`, beside those of the product: it is started again
    /// when it ends or panics, and dropped at shutdown. What only one replica may do is its own to see to, by a lease.
    #[must_use]
    pub fn controller<F, Fut>(mut self, name: &'static str, run: F) -> Self
    where
        F: Fn(Arc<Platform>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let run: Run = Arc::new(move |platform| run(platform).boxed());
        self.controllers.push(Controller { name, run });
        self
    }

    /// The sender that was given, or the inbox.
    pub(crate) fn sender(&self) -> Arc<dyn NotificationSender> {
        match &self.notifications {
            Some(sender) => Arc::clone(sender),
            None => Arc::new(InboxSender),
        }
    }

    /// Starts the loops.
    pub(crate) fn supervise(&self, platform: &Arc<Platform>, pool: &TaskPool) {
        for controller in &self.controllers {
            let (platform, run) = (Arc::clone(platform), Arc::clone(&controller.run));
            pool.supervise_loop(controller.name, move || run(Arc::clone(&platform)));
        }
    }
}
