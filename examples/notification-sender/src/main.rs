//! Shepherd with one more place that notifications go to: a chat.
//!
//! A composition root of its own: it constructs the adapters that are not Shepherd's and runs the commands of the
//! product with them. `chat` is what the environment says, `sender` what happens in the transaction of a change, and
//! `relay` what happens after it.

mod chat;
mod relay;
mod sender;

use std::process::ExitCode;
use std::sync::Arc;

use shepherd_app::Extensions;

use chat::Chat;
use sender::ChatSender;

fn main() -> ExitCode {
    match Chat::configured(|name| std::env::var(name).ok()) {
        // Without a chat this is the product as it is shipped.
        Ok(None) => shepherd_app::main(),
        Ok(Some(chat)) => shepherd_app::main_with(with_chat(chat)),
        Err(error) => {
            eprintln!("notification-sender-example: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with_chat(chat: Chat) -> Extensions {
    let sender = ChatSender::new(chat.account);
    let chat = Arc::new(chat);
    Extensions::default()
        .notifications(Arc::new(sender))
        .controller("chat relay", move |platform| {
            let chat = Arc::clone(&chat);
            async move { relay::run(&platform, &chat).await }
        })
}
